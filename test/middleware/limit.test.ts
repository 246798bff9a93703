import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Socket, connect as connectNet } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  Cio,
  type ConnectionContext,
  type LimitOptions,
  type LimitRefusal,
  type Limit,
  type ListenOptions,
  type ServerContext,
  limit,
  route,
  startTls,
} from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { dialOver, nextEvent, networks, socketPath } from '../support/transports.ts'

interface Bounded {
  readonly app: Cio
  readonly bounds: Limit
  readonly server: ServerContext
  /** The rejections, from the event `limit`. */
  readonly refusals: LimitRefusal[]
  /** The errors of the event `reject`. */
  readonly rejections: Error[]
}

/** Greets when it receives data, and stays. */
async function greeting(ctx: ConnectionContext): Promise<void> {
  for await (const _ of ctx) ctx.stream.write('hello')
}

/** A server that greets admitted clients, and keeps the connection until the peer ends it. */
async function bounded(
  t: ExecutionContext,
  options: LimitOptions,
  listening: ListenOptions = {},
): Promise<Bounded> {
  const bounds = limit(options)
  const app = new Cio().useConnection(bounds).useConnection(async (ctx) => {
    ctx.stream.write('hello')
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  const refusals: LimitRefusal[] = []
  const rejections: Error[] = []
  app.on('limit', (refusal) => refusals.push(refusal))
  app.on('reject', (error) => rejections.push(error))
  app.on('remoteError', () => {})
  app.on('error', (error) => t.fail(error.stack))
  const server = await serve(t, app, listening)
  return { app, bounds, server, refusals, rejections }
}

/** Connects and waits for the greeting. */
async function enter(t: ExecutionContext, server: ServerContext): Promise<Socket> {
  const socket = await dial(t, server)
  await once(socket, 'data')
  return socket
}

/** Connects, and waits until the other side closes; returns what it received. */
async function refused(t: ExecutionContext, server: ServerContext): Promise<string> {
  const socket = await dial(t, server)
  let said = ''
  socket.on('data', (chunk: Buffer) => (said += chunk.toString()))
  socket.on('end', () => socket.end())
  await new Promise((resolve) => socket.once('close', resolve))
  return said
}

/** Connects from another address of the loopback network. */
async function enterFrom(t: ExecutionContext, port: number, localAddress: string): Promise<Socket> {
  const socket = connectNet({ port, host: '127.0.0.1', localAddress })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'data')
  return socket
}

/** Connects, and waits until the server's pipeline has begun. */
async function arrive(t: ExecutionContext, app: Cio, server: ServerContext): Promise<Socket> {
  const accepted = nextEvent(app, 'connection')
  const socket = await dial(t, server)
  await accepted
  await new Promise(setImmediate)
  return socket
}

/** Leaves, and waits until the server's connection is closed. */
async function leave(app: Cio, socket: Socket): Promise<void> {
  const over = nextEvent(app, 'close')
  socket.destroy()
  await over
}

const nothing = {
  connections: 0,
  perAddress: 0,
  rate: 0,
  ratePerAddress: 0,
  handshakes: 0,
  queued: 0,
}
const idle = {
  connections: 0,
  addresses: 0,
  handshakes: 0,
  waiting: 0,
  handshakesWaiting: 0,
  queued: 0,
}

test('a connection over the limit is rejected at once, reported and counted', async (t) => {
  const { bounds, server, refusals, rejections } = await bounded(t, { connections: 2 })
  await enter(t, server)
  await enter(t, server)
  t.is(await refused(t, server), '')
  t.deepEqual(refusals, [{ reason: 'connections', address: '127.0.0.1', waited: false }])
  t.deepEqual(bounds.counts, {
    ...idle,
    connections: 2,
    addresses: 1,
    refused: { ...nothing, connections: 1 },
  })
  t.is(rejections.length, 1)
  t.like(rejections[0], { code: 'ERR_CIO_REJECTED', fault: 'remote' })
  t.regex(rejections[0]!.message, /^127\.0\.0\.1:\d+ was rejected by `limit`: over `connections`/)
})

test('a connection that leaves makes room for another', async (t) => {
  const { app, server, refusals } = await bounded(t, { connections: 1 })
  await leave(app, await enter(t, server))
  await enter(t, server)
  t.deepEqual(refusals, [])
})

test('a connection over the limit waits, and enters when another leaves', async (t) => {
  const { app, bounds, server } = await bounded(t, { connections: 2, waitTimeout: 30_000 })
  const first = await enter(t, server)
  await enter(t, server)
  const third = await arrive(t, app, server)
  t.like(bounds.counts, { connections: 2, waiting: 1 })
  first.destroy()
  t.is(String((await once(third, 'data'))[0]), 'hello')
  t.like(bounds.counts, { connections: 2, waiting: 0, refused: nothing })
})

test('waiting connections enter in the order of arrival', async (t) => {
  const { app, server } = await bounded(t, { connections: 1, waitTimeout: 30_000 })
  let inside = await enter(t, server)
  const order: number[] = []
  const waiting: Socket[] = []
  for (let index = 0; index < 5; index++) {
    const socket = await arrive(t, app, server)
    socket.once('data', () => order.push(index))
    waiting.push(socket)
  }
  for (const next of waiting) {
    const greeted = once(next, 'data')
    inside.destroy()
    await greeted
    inside = next
  }
  t.deepEqual(order, [0, 1, 2, 3, 4])
})

test('a connection that waited too long is rejected', async (t) => {
  const { bounds, server, refusals } = await bounded(t, { connections: 1, waitTimeout: 50 })
  await enter(t, server)
  const both = await Promise.all([refused(t, server), refused(t, server)])
  t.deepEqual(both, ['', ''])
  const refusal = { reason: 'connections', address: '127.0.0.1', waited: true }
  t.deepEqual(refusals, [refusal, refusal])
  t.like(bounds.counts, { connections: 1, waiting: 0 })
})

test('a connection beyond maxWaiting is rejected at once', async (t) => {
  const options = { connections: 1, waitTimeout: 30_000, maxWaiting: 1 }
  const { app, bounds, server, refusals } = await bounded(t, options)
  await enter(t, server)
  await arrive(t, app, server)
  t.is(await refused(t, server), '')
  t.deepEqual(refusals, [{ reason: 'connections', address: '127.0.0.1', waited: false }])
  t.is(bounds.counts.waiting, 1)
})

test('a connection that closes while it waits leaves no trace', async (t) => {
  const { app, bounds, server } = await bounded(t, { connections: 1, waitTimeout: 30_000 })
  const first = await enter(t, server)
  const second = await arrive(t, app, server)
  const over = nextEvent(app, 'close')
  second.resetAndDestroy()
  await over
  t.like(bounds.counts, { connections: 1, waiting: 0, addresses: 1 })
  await leave(app, first)
  t.deepEqual(bounds.counts, { ...idle, refused: nothing })
})

test('close() waits no longer for waiting connections than for others', async (t) => {
  const { app, bounds, server } = await bounded(t, { connections: 1, waitTimeout: Infinity })
  await enter(t, server)
  await arrive(t, app, server)
  t.deepEqual(await server.close({ timeout: 50 }), { forced: 2 })
  t.deepEqual(bounds.counts, { ...idle, refused: nothing })
})

test('an address over its limit is rejected while another enters', async (t) => {
  const { bounds, server, refusals } = await bounded(t, { perAddress: 1, waitTimeout: 30_000 })
  await enter(t, server)
  t.is(await refused(t, server), '')
  await enterFrom(t, server.port, '127.0.0.2')
  t.deepEqual(refusals, [{ reason: 'perAddress', address: '127.0.0.1', waited: false }])
  t.like(bounds.counts, { connections: 2, addresses: 2 })
})

test('one address cannot fill the wait queue', async (t) => {
  const options = { connections: 1, perAddress: 2, waitTimeout: 30_000 }
  const { app, bounds, server, refusals } = await bounded(t, options)
  await enter(t, server)
  await arrive(t, app, server)
  t.is(await refused(t, server), '')
  t.like(refusals, [{ reason: 'perAddress' }])
  t.is(bounds.counts.waiting, 1)
})

test('the address that counts is the client address from the proxy', async (t) => {
  const bounds = limit({ perAddress: 1 })
  let client = 0
  const app = new Cio().useConnection(bounds).useConnection(async function greet(ctx) {
    ctx.stream.write('hello')
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  app.useConnection(function proxyProtocol(ctx: ConnectionContext, next) {
    // Two clients of one network, and one of another.
    const address = ['2001:db8::1', '2001:db8::2', '2001:db8:1::1'][client++]!
    ctx.forwardedFor = { address, port: 1 }
    return next()
  })
  const refusals: LimitRefusal[] = []
  app.on('limit', (refusal) => refusals.push(refusal))
  const server = await serve(t, app)
  await enter(t, server)
  t.is(await refused(t, server), '')
  await enter(t, server)
  t.deepEqual(refusals, [{ reason: 'perAddress', address: '2001:db8::/64', waited: false }])
})

test('connections over the rate are rejected', async (t) => {
  const { app, server, refusals } = await bounded(t, { rate: { count: 2, per: 3_600_000 } })
  await leave(app, await enter(t, server))
  await leave(app, await enter(t, server))
  t.is(await refused(t, server), '')
  t.like(refusals, [{ reason: 'rate', waited: false }])
})

test('a connection over the rate waits for its turn, if waitTimeout allows it', async (t) => {
  const { bounds, server } = await bounded(t, {
    rate: { count: 1, per: 200 },
    waitTimeout: 30_000,
  })
  await enter(t, server)
  const start = performance.now()
  await enter(t, server)
  await enter(t, server)
  t.true(performance.now() - start > 200)
  t.like(bounds.counts, { connections: 3, waiting: 0, refused: nothing })
})

test('connections of an address over its rate are rejected, and others enter', async (t) => {
  const ratePerAddress = { count: 1, per: 3_600_000 }
  const { server, refusals } = await bounded(t, { ratePerAddress, waitTimeout: 30_000 })
  await enter(t, server)
  t.is(await refused(t, server), '')
  await enterFrom(t, server.port, '127.0.0.2')
  t.like(refusals, [{ reason: 'ratePerAddress', address: '127.0.0.1' }])
})

test('a connection without an address has no limit by address', async (t) => {
  const options = { perAddress: 1, ratePerAddress: { count: 1, per: 3_600_000 }, connections: 2 }
  const bounds = limit(options)
  const app = new Cio().useConnection(bounds).useConnection(async (ctx) => {
    ctx.stream.write('hello')
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  const path = socketPath(t)
  closeAfter(t, app)
  await app.listen(path)
  for (let index = 0; index < 2; index++) {
    const socket = connectNet(path)
    t.teardown(() => socket.destroy())
    await once(socket, 'data')
  }
  const refusal = nextEvent(app, 'limit')
  const third = connectNet(path)
  third.on('error', () => {})
  t.deepEqual((await refusal)[0], { reason: 'connections', address: null, waited: false })
  t.like(bounds.counts, { connections: 2, addresses: 0 })
})

test('a handshake waits while others are in progress', async (t) => {
  const { app, bounds, server } = await bounded(t, { handshakes: 1 }, identity('server'))
  const silent = await arrive(t, app, server)
  const second = nextEvent(app, 'connection')
  const client = dialOver(t, 'TLS 1.3', server)
  await second
  await new Promise(setImmediate)
  t.like(bounds.counts, { handshakes: 1, handshakesWaiting: 1, connections: 2 })
  silent.destroy()
  const secure = await client
  t.is(String((await once(secure, 'data'))[0]), 'hello')
  t.like(bounds.counts, { handshakes: 0, handshakesWaiting: 0 })
})

test('a client that stalls in its handshake does not block other handshakes', async (t) => {
  const { bounds, server } = await bounded(t, { handshakes: 2 }, identity('server'))
  for (const words of ['', '\x16', '\x16\x03\x01', '']) (await dial(t, server)).write(words)
  const client = await dialOver(t, 'TLS 1.2', server)
  client.end('good')
  t.is(await readAll(client), 'hellogood')
  // They are still connected.
  t.is(bounds.counts.refused.handshakes, 0)
  t.true(bounds.counts.connections >= 4)
})

test('a connection that waited too long for its handshake is rejected', async (t) => {
  const options = { handshakes: 1, handshakeWaitTimeout: 20 }
  const { app, bounds, server, refusals } = await bounded(t, options, identity('server'))
  await arrive(t, app, server)
  t.is(await refused(t, server), '')
  t.deepEqual(refusals, [{ reason: 'handshakes', address: '127.0.0.1', waited: true }])
  t.like(bounds.counts, { connections: 1, handshakes: 1, handshakesWaiting: 0 })
})

test('a handshake beyond maxWaiting is rejected at once', async (t) => {
  const options = { handshakes: 1, maxWaiting: 0 }
  const { app, server, refusals } = await bounded(t, options, identity('server'))
  await arrive(t, app, server)
  t.is(await refused(t, server), '')
  t.deepEqual(refusals, [{ reason: 'handshakes', address: '127.0.0.1', waited: false }])
})

test('a plain server has no handshakes to wait for', async (t) => {
  const { bounds, server } = await bounded(t, { handshakes: 1, maxWaiting: 0 })
  await enter(t, server)
  await enter(t, server)
  t.like(bounds.counts, { handshakes: 0, refused: nothing })
})

test('an open connection takes no handshake slot', async (t) => {
  const { bounds, server } = await bounded(t, { handshakes: 1, maxWaiting: 0 }, identity('server'))
  for (let index = 0; index < 3; index++) {
    const client = await dialOver(t, 'TLS 1.3', server)
    t.is(String((await once(client, 'data'))[0]), 'hello')
  }
  t.like(bounds.counts, { connections: 3, handshakes: 0 })
})

test('a client that sends its handshake byte by byte does not block other handshakes', async (t) => {
  const listening = { ...identity('server'), handshakeTimeout: Infinity }
  const options = { handshakes: 1, handshakeWaitTimeout: Infinity }
  const { app, server } = await bounded(t, options, listening)
  const slow = await arrive(t, app, server)
  // The header of a record of maximum length.
  slow.write(Buffer.from('1603014000', 'hex'))
  const dribble = setInterval(() => slow.write('x'), 10)
  t.teardown(() => clearInterval(dribble))
  const client = await dialOver(t, 'TLS 1.3', server)
  t.is(String((await once(client, 'data'))[0]), 'hello')
  t.false(slow.destroyed)
})

test('a listener for `secure` that throws keeps no handshake in the count', async (t) => {
  const bounds = limit({ handshakes: 1 })
  const app = new Cio().useConnection(bounds).useConnection(async ({ stream }, next) => {
    stream.write('hello')
    await next()
  })
  app.on('error', () => {})
  app.on('secure', () => {
    throw new Error('on purpose')
  })
  const server = await serve(t, app, identity('server'))
  await once(await dialOver(t, 'TLS 1.3', server), 'data')
  t.like(bounds.counts, { connections: 1, handshakes: 0 })
})

test('a connection without a handshake takes no handshake slot', async (t) => {
  const listening = identity('server')
  const bounds = limit({ handshakes: 1, maxWaiting: 0 })
  const inner = new Cio().useConnection(bounds).useConnection(greeting)
  const behindTls = new Cio().useConnection(route([{ to: inner }]), { before: [], after: 'secure' })
  const passing = new Cio().useConnection(route([{ to: [bounds, greeting] }]))
  const plain = new Cio().useConnection(startTls()).useConnection(bounds).useConnection(greeting)
  for (const [app, transport] of [
    [behindTls, 'TLS 1.3'],
    [passing, 'tcp'],
    [plain, 'tcp'],
  ] as const) {
    const server = await serve(t, app as Cio, listening)
    for (let index = 0; index < 2; index++) {
      const client = await dialOver(t, transport, server)
      client.write('x')
      t.is(String((await once(client, 'data'))[0]), 'hello')
      t.is(bounds.counts.handshakes, 0)
    }
  }
})

for (const transport of networks) {
  test(`above \`queued\` in total, a connection that reads nothing is closed and reported (${transport})`, async (t) => {
    const bounds = limit({ queued: 20_000_000 })
    const app = new Cio().useConnection(bounds).useConnection(async (ctx) => {
      ctx.stream.write(Buffer.alloc(12_000_000))
      await once(ctx.stream, 'close')
    })
    const refusal = nextEvent(app, 'limit')
    const told = nextEvent(app, 'remoteError')
    const server = await serve(t, app, transport === 'tcp' ? {} : identity('server'))
    const [one, other] = [
      await dialOver(t, transport, server),
      await dialOver(t, transport, server),
    ]
    t.deepEqual((await refusal)[0], { reason: 'queued', address: '127.0.0.1', waited: false })
    t.like((await told)[0], { code: 'ERR_CIO_SLOW_READER', fault: 'remote' })
    t.is(bounds.counts.refused.queued, 1)
    const read = (socket: Duplex): Promise<number> =>
      new Promise((resolve) => {
        let length = 0
        const end = (): void => resolve(length)
        socket.on('data', (chunk: Buffer) => {
          length += chunk.length
          if (length === 12_000_000) end()
        })
        socket.on('end', end).on('close', end)
        if (socket.destroyed) end()
      })
    const lengths = await Promise.all([one, other].map(read))
    t.is(lengths.filter((length) => length === 12_000_000).length, 1, String(lengths))
  })
}

test('unsent bytes count also after the handler has returned', async (t) => {
  const bounds = limit({ queued: 5_000_000 })
  const app = new Cio().useConnection(bounds).useConnection((ctx) => {
    ctx.stream.end(Buffer.alloc(20_000_000))
  })
  const told = nextEvent(app, 'remoteError')
  await dial(t, await serve(t, app))
  t.like((await told)[0], { code: 'ERR_CIO_SLOW_READER' })
})

test('all apps with the middleware share its limits', async (t) => {
  const { bounds, server } = await bounded(t, { connections: 1 })
  const other = await serve(t, new Cio().useConnection(bounds))
  await enter(t, server)
  t.is(await refused(t, other), '')
})

for (const [title, options] of [
  ['no connections', { connections: 0 }],
  ['half a connection', { connections: 1.5 }],
  ['a negative wait', { waitTimeout: -1 }],
  ['a bare number for a rate', { rate: 10 }],
  ['a misspelt option', { perAdress: 10 }],
  ['no bytes', { queued: 0 }],
] as const) {
  test(`${title} is an invalid option`, (t) => {
    t.throws(() => limit(options as LimitOptions), { code: 'ERR_CIO_OPTION' })
  })
}
