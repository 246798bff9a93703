import test from 'ava'
import { once } from 'node:events'
import { Cio, type CioError, type StreamContext, allowList, lines } from '../src/index.ts'
import { chunksOf } from '../src/kit.ts'
import { chaos, duplexPair, fragment, testApp, testCertificates } from '../src/testing.ts'
import { readAll, serve } from './support/serve.ts'

const shout = () =>
  new Cio()
    .useConnection(lines())
    .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))

const speaks = () => new Cio().useClient(lines())

test('an app runs without a port, and its client talks with it', async (t) => {
  await using run = await testApp(shout(), { client: speaks() })
  await run.client.messages.send('hello')
  t.is((await run.client.messages.next()).value, 'HELLO')
  t.is(run.server.address, null)
  t.is(run.ctx.server, run.server)
  run.client.stream.end()
  t.is(await run.closed, undefined)
})

test('the server pipeline runs round it, and returns when it is closed', async (t) => {
  const steps: string[] = []
  const app = shout().useServer(async (_ctx, next) => {
    steps.push('in')
    await next()
    steps.push('out')
  })
  const run = await testApp(app)
  t.deepEqual(steps, ['in'])
  await run.close()
  t.deepEqual(steps, ['in', 'out'])
})

test('several clients of one server have each a connection of their own', async (t) => {
  await using run = await testApp(shout(), { client: speaks() })
  const other = await run.connect()
  t.not(other.ctx, run.ctx)
  t.is(run.server.connections.size, 2)
  await other.client.messages.send('other')
  t.is((await other.client.messages.next()).value, 'OTHER')
})

test('what a handler throws is what the connection ended by', async (t) => {
  const app = new Cio().useConnection(() => {
    throw new Error('a mistake')
  })
  app.on('error', () => {})
  await using run = await testApp(app)
  t.is((await run.closed)?.message, 'a mistake')
})

test('with certificates there is TLS, and both sides know each other', async (t) => {
  const { server, clients } = await testCertificates('alice', 'bob')
  await using run = await testApp(shout(), {
    client: speaks(),
    listen: server,
    connect: clients.alice,
  })
  t.is(run.ctx.peer?.name, 'alice')
  t.is(run.client.peer?.name, 'localhost')
  await run.client.messages.send('hello')
  t.is((await run.client.messages.next()).value, 'HELLO')
  t.is((await run.connect(clients.bob)).ctx.peer?.name, 'bob')
})

test('TLS runs over a stream that is no socket in version 1.2 as well', async (t) => {
  const { server, clients } = await testCertificates('alice', 'bob')
  const listen = { ...server, maxVersion: 'TLSv1.2' as const }
  await using run = await testApp(shout(), { listen, connect: clients.alice })
  t.is(run.ctx.peer?.name, 'alice')
})

test('a client that speaks no TLS to a server that does is told of, with its handshake', async (t) => {
  const { server } = await testCertificates('alice', 'bob')
  const app = shout()
  const told = once(app, 'remoteError')
  const listening = await app.listen({ ...server, bind: false })
  t.teardown(() => listening.close({ timeout: 0 }))
  const [near, far] = duplexPair()
  listening.accept(near)
  far.on('error', () => {})
  far.write('this is no handshake')
  const [error] = (await told) as [CioError]
  t.is(error.code, 'ERR_CIO_HANDSHAKE')
})

for (const kind of ['expired', 'otherCa', 'selfSigned', 'twoNames'] as const) {
  test(`a client of the bad kind ${kind} is rejected`, async (t) => {
    const { server, bad } = await testCertificates('alice', 'bob')
    const app = new Cio().useConnection(allowList(['alice'])).useConnection(() => t.fail())
    await using run = await testApp(app, { listen: server, connect: bad[kind] })
    t.is(((await run.closed) as CioError).code, 'ERR_CIO_REJECTED')
  })
}

for (const kind of ['expired', 'otherCa', 'selfSigned', 'otherHost'] as const) {
  test(`a client turns away a server of the bad kind ${kind}`, async (t) => {
    const { badServers, clients } = await testCertificates('alice', 'bob')
    const app = shout()
    // It would not serve by what is of no use.
    app.pipelines.server.disable('certs')
    const options = { listen: badServers[kind], connect: clients.alice }
    await t.throwsAsync(testApp(app, options), { code: 'ERR_CIO_REJECTED' })
  })
}

test('certificates are made once for the same names', async (t) => {
  t.is(await testCertificates('alice', 'bob'), await testCertificates('alice', 'bob'))
})

test('certificates for no name at all are refused', (t) => {
  t.throws(() => testCertificates(''), { code: 'ERR_CIO_OPTION' })
})

test('fragments are the whole, each cut in two, byte by byte, and random ones', (t) => {
  const ways = [...fragment('abcd', { random: 5 })].map((way) => way.map(String))
  t.deepEqual(ways.slice(0, 5), [
    ['abcd'],
    ['a', 'bcd'],
    ['ab', 'cd'],
    ['abc', 'd'],
    ['a', 'b', 'c', 'd'],
  ])
  t.is(ways.length, 10)
  for (const way of ways) t.is(way.join(''), 'abcd')
})

test('random fragments are the same for the same seed alone', (t) => {
  const ways = (seed: number): string => {
    const bytes = Buffer.alloc(100, 'x')
    return JSON.stringify([...fragment(bytes, { seed })].map((way) => way.map((one) => one.length)))
  }
  t.is(ways(7), ways(7))
  t.not(ways(7), ways(8))
})

test('what is empty or of one byte has one way', (t) => {
  t.is([...fragment('')].length, 1)
  t.is([...fragment('a')].length, 1)
})

/** The sizes of the pieces in which a connection under chaos reads a hundred bytes. */
async function piecesOf(app: Cio): Promise<number[]> {
  await using run = await testApp(app)
  run.client.stream.end('x'.repeat(100))
  await run.closed
  return (run.ctx as unknown as { pieces: number[] }).pieces
}

const collect = async (ctx: StreamContext): Promise<void> => {
  const pieces: number[] = []
  Object.assign(ctx, { pieces })
  for await (const chunk of chunksOf(ctx.stream)) pieces.push(chunk.length)
}

test('chaos chops, and chops the same way for the same seed alone', async (t) => {
  const pieces = (seed: number): Promise<number[]> =>
    piecesOf(new Cio().useConnection(chaos({ chop: 10, seed })).useConnection(collect))
  const first = await pieces(3)
  t.is(
    first.reduce((sum, size) => sum + size, 0),
    100,
  )
  t.true(first.length > 10)
  t.deepEqual(await pieces(3), first)
  t.notDeepEqual(await pieces(4), first)
})

test('chaos resets at the same byte for the same seed', async (t) => {
  const pieces = (seed: number): Promise<number[]> => {
    const app = new Cio().useConnection(chaos({ chop: 1, reset: 50, seed })).useConnection(collect)
    return piecesOf(app)
  }
  const first = await pieces(5)
  t.true(first.length < 50)
  t.deepEqual(await pieces(5), first)
})

test('chaos resets for both sides', async (t) => {
  await using run = await testApp(new Cio().useConnection(chaos({ reset: 0 })), {})
  const failed = once(run.client.stream, 'error')
  run.client.stream.write('hello')
  t.is(((await failed) as [NodeJS.ErrnoException])[0].code, 'ECONNRESET')
  t.is(((await run.closed) as NodeJS.ErrnoException).code, 'ECONNRESET')
})

test('chaos stands still, once, for as long as it is told to', async (t) => {
  const app = new Cio().useConnection(chaos({ chop: 1, stall: 100 })).useConnection(collect)
  const from = performance.now()
  await piecesOf(app)
  // Timers count in whole milliseconds.
  t.true(performance.now() - from >= 99)
})

test('chaos over sockets with TLS changes no byte', async (t) => {
  const { server: identity, clients } = await testCertificates('alice', 'bob')
  const app = shout()
  app.useConnection(chaos({ chop: 700, delay: 1 }))
  const client = speaks().useClient(chaos({ chop: 700 }))
  const { port } = await serve(t, app, identity)
  t.teardown(() => client.close({ timeout: 0 }))
  const ctx = await client.connect({ ...clients.alice, port, host: '127.0.0.1' })
  await ctx.messages.send('hello'.repeat(1_000))
  t.is((await ctx.messages.next()).value, 'HELLO'.repeat(1_000))
})

test('chaos stands before everything that has a stream, in both pipelines', (t) => {
  const app = new Cio().useConnection(lines()).useConnection(chaos()).useClient(chaos())
  t.deepEqual(app.pipelines.connection.names.slice(0, 2), ['chaos', 'secure'])
  t.deepEqual(app.pipelines.client.names, ['certs', 'connect', 'chaos', 'secure'])
})

test('options of the kit are checked', async (t) => {
  t.throws(() => chaos({ chop: 0 }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => chaos({ delay: -1 }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => chaos({ seed: 0.5 }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => [...fragment('a', { random: -1 })], { code: 'ERR_CIO_OPTION' })
  await t.throwsAsync(testApp(new Cio(), { port: 1 } as object), { code: 'ERR_CIO_OPTION' })
})

test('a server that does not listen runs over what it is given', async (t) => {
  const server = await new Cio()
    .useConnection((ctx) => void ctx.stream.write('hello'))
    .listen({ bind: false })
  t.is(server.port, 0)
  const [near, far] = duplexPair()
  const ctx = server.accept(near)
  far.end()
  t.is(await readAll(far), 'hello')
  await ctx.closed
  t.deepEqual(await server.close(), { forced: 0 })
})
