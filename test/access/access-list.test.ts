import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import type { TLSSocket } from 'node:tls'
import {
  type AccessListMiddleware,
  type AccessListOptions,
  Cio,
  allowList,
  denyList,
  timeout,
} from '../../src/index.ts'
import { identity, loaded, path } from '../support/certificates.ts'
import { connectWith } from '../support/live-files.ts'
import { readAll, serve } from '../support/serve.ts'
import { writeGreeting, recordEvents, openSession, connectTls } from '../support/tls.ts'
import { deferred, nextEvent } from '../support/transports.ts'

const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }

/** Serves with a list; who is let in stays until it is asked to finish. */
async function open(t: ExecutionContext, list: AccessListMiddleware) {
  const app = new Cio().useConnection(list).useConnection(async (ctx) => {
    writeGreeting(ctx)
    if (ctx.isDraining) return
    await Promise.race([once(ctx.draining, 'abort'), once(ctx.signal, 'abort')])
  })
  return { app, told: recordEvents(app), server: await serve(t, app, mutual) }
}

async function come(t: ExecutionContext, server: { port: number }, name: string) {
  const socket: TLSSocket = await connectWith(t, server, loaded(name))
  const said = await new Promise<string>((resolve) => {
    socket.once('data', (chunk: Buffer) => resolve(chunk.toString()))
    socket.once('close', () => resolve(''))
  })
  return { socket, said }
}

test('a name that is taken off the list ends its connection, drained first', async (t) => {
  const list = allowList(['alice', 'bob'])
  const { app, told, server } = await open(t, list)
  const alice = await come(t, server, 'alice')
  const bob = await come(t, server, 'bob')
  const over = nextEvent(app, 'close')
  await list.update(['bob'])
  await readAll(alice.socket)
  const [ctx] = await over
  t.true(ctx.isDraining)
  t.false(bob.socket.destroyed)
  t.is(server.connections.size, 1)
  t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
  t.regex(told.reject[0]!.message, /\("alice"\) was rejected by `allowList`: it is not on/)
  t.deepEqual([...told.remoteError, ...told.error], [])
  t.is((await come(t, server, 'alice')).said, '')
})

test('a name that is put on a deny list is cut at once where that is asked for', async (t) => {
  const list = denyList([], { revoked: 'destroy' })
  const { app, told, server } = await open(t, list)
  const { socket } = await come(t, server, 'alice')
  await come(t, server, 'bob')
  const over = nextEvent(app, 'close')
  await list.update('alice')
  await over
  t.is(server.connections.size, 1)
  t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
  t.is(told.reject.length, 1)
  socket.destroy()
})

test('who is there stays where that is asked for', async (t) => {
  const list = allowList('alice', { revoked: 'keep' })
  const { told, server } = await open(t, list)
  await come(t, server, 'alice')
  await list.update([])
  t.is(server.connections.size, 1)
  t.deepEqual(told.reject, [])
  t.is((await come(t, server, 'alice')).said, '')
})

test('update without a list judges again what a predicate looks at', async (t) => {
  const members = new Set(['alice', 'bob'])
  const list = allowList(async ({ name }) => members.has(name ?? ''))
  const { app, server } = await open(t, list)
  await come(t, server, 'alice')
  await come(t, server, 'bob')
  members.delete('alice')
  const over = nextEvent(app, 'close')
  await list.update()
  t.is((await over)[0].peer?.name, 'alice')
  t.is(server.connections.size, 1)
})

test('a rule that fails when it is asked again turns away', async (t) => {
  let down = false
  const list = allowList(() => {
    if (down) throw new Error('directory down')
    return true
  })
  const { app, told, server } = await open(t, list)
  await come(t, server, 'alice')
  down = true
  const over = nextEvent(app, 'close')
  await list.update()
  await over
  t.regex(told.reject[0]!.message, /its rule failed: directory down/)
})

test('who is being judged while the list changes is judged by the new one', async (t) => {
  const answer = deferred<boolean>()
  const asked = deferred()
  const list = allowList(() => (asked.resolve(), answer.promise))
  const { told, server } = await open(t, list)
  const coming = come(t, server, 'alice')
  await asked.promise
  await list.update([])
  answer.resolve(true)
  t.is((await coming).said, '')
  t.regex(told.reject[0]!.message, /it is not on the list/)
})

test('a list that is refused leaves the one before', async (t) => {
  const list = allowList('alice')
  const { server } = await open(t, list)
  await t.throwsAsync(list.update(7 as unknown as string), { code: 'ERR_CIO_OPTION' })
  t.is((await come(t, server, 'alice')).said, 'hello alice')
})

for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
  test(`a resumed session is judged by the list as it is now (${version})`, async (t) => {
    const list = allowList('alice', { revoked: 'destroy' })
    const { server } = await open(t, list)
    const as = { ...loaded('alice'), maxVersion: version }
    const session = await openSession(t, server, as)
    await list.update('bob')
    t.like(await connectTls(t, server, { ...as, session }), { said: '', resumed: true })
  })
}

test('a list forgets who has gone', async (t) => {
  let asked = 0
  const list = allowList(() => (asked++, true))
  const { app, server } = await open(t, list)
  const { socket } = await come(t, server, 'alice')
  const over = nextEvent(app, 'close')
  server.connections.forEach((ctx) => ctx.destroy())
  await over
  await list.update()
  t.is(asked, 1)
  socket.destroy()
})

test('the list of a client ends its connection to a server that is struck off', async (t) => {
  const { server } = await open(t, denyList([]))
  const list = allowList('localhost', { revoked: 'destroy' })
  const app = new Cio().useClient(list)
  const options = { host: '127.0.0.1', ca: path('root.crt'), ...identity('alice') }
  const client = await app.connect({ ...options, port: server.port })
  await list.update([])
  await client.closed
  t.is((client.broken as Error & { code: string }).code, 'ERR_CIO_REJECTED')
})

for (const [how, options] of [
  ['cut at once', { revoked: 'destroy' }],
  ['cut at the deadline of the list', { drainTimeout: 20 }],
] as const) {
  test(`who has been asked to finish for another reason, and has for ever, is ${how}`, async (t) => {
    const list = allowList('alice', options)
    const app = new Cio()
      .useConnection(timeout({ lifetime: 1, drainTimeout: Infinity }))
      .useConnection(list)
      .useConnection(async (ctx) => {
        writeGreeting(ctx)
        await once(ctx.signal, 'abort')
      })
    const told = recordEvents(app)
    const aged = nextEvent(app, 'remoteError')
    const server = await serve(t, app, mutual)
    const { socket } = await come(t, server, 'alice')
    const [old, ctx] = await aged
    t.like(old, { code: 'ERR_CIO_LIFETIME' })
    await list.update('bob')
    await ctx.closed
    t.like(told.reject, [{ code: 'ERR_CIO_REJECTED' }])
    t.is(told.reject.length, 1)
    socket.destroy()
  })
}

// The dry run.

for (const [name, list] of [
  ['allowList', (options: AccessListOptions) => allowList('bob', options)],
  ['denyList', (options: AccessListOptions) => denyList('alice', options)],
] as const) {
  test(`${name} with report lets in, and tells whom it would have rejected`, async (t) => {
    let goodbyes = 0
    const made = list({ dryRun: true, reject: () => void goodbyes++ })
    const { app, told, server } = await open(t, made)
    const reported = nextEvent(app, 'wouldReject')
    t.is((await come(t, server, 'alice')).said, 'hello alice')
    const [error, ctx] = await reported
    t.like(error, { code: 'ERR_CIO_REJECTED', fault: 'remote' })
    t.regex(error.message, new RegExp(`\\("alice"\\) was rejected by \`${name}\``))
    t.is(ctx.peer?.name, 'alice')
    t.is(goodbyes, 0)

    const again = nextEvent(app, 'wouldReject')
    await made.update()
    t.is((await again)[1], ctx)
    t.is(server.connections.size, 1)
    t.deepEqual([...told.reject, ...told.error, ...told.remoteError], [])
  })
}

test('options out of their range are refused when a list is made', (t) => {
  for (const options of [
    { report: 'yes' },
    { revoked: 'cut' },
    { drainTimeout: -1 },
    { dry: true },
  ] as unknown as AccessListOptions[]) {
    t.throws(() => allowList('alice', options), { code: 'ERR_CIO_OPTION' })
    t.throws(() => denyList('alice', options), { code: 'ERR_CIO_OPTION' })
  }
})
