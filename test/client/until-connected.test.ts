/** Streams that something else has made, and that still connect (nodejs/node#49860). */

import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Server, connect as connectNet, createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import {
  Cio,
  type ConnectOptions,
  type CreateConnection,
  defineMiddleware,
  httpConnect,
  reconnect,
  type ClientContext,
} from '../../src/index.ts'
import { viaProxy } from '../../src/kit.ts'
import { untilConnected } from '../../src/client/until-connected.ts'
import { contents, identity } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, readAll, serve } from '../support/serve.ts'
import { httpProxy } from '../support/proxies.ts'

const host = '127.0.0.1'

/** As a program writes it that is used to `net.connect`. */
const createConnection: CreateConnection = (options) => connectNet(options.port!, options.host)

function client(t: ExecutionContext): Cio {
  const app = new Cio()
  app.on('remoteError', () => {})
  closeAfter(t, app)
  return app
}

const named = async (
  t: ExecutionContext,
  name: string,
): Promise<{ host: string; port: number }> => {
  const app = new Cio().useConnection((ctx) => void ctx.stream.end(name))
  return { host, port: (await serve(t, app)).port }
}

test('a socket that still connects, to a port that refuses, is no connection (nodejs/node#49860)', async (t) => {
  const dead = { host, port: await ownPort() }
  const connecting = client(t).connect({ ...dead, createConnection })
  await t.throwsAsync(connecting, { code: 'ECONNREFUSED' })
})

test('the next target has its turn where such a socket fails', async (t) => {
  const targets = [{ host, port: await ownPort() }, await named(t, 'living')]
  const ctx = await client(t).connect(targets, { createConnection })
  t.is(await readAll(ctx), 'living')
})

test('where all fail, each is named', async (t) => {
  const targets = [
    { host, port: await ownPort() },
    { host, port: await ownPort() },
  ]
  const connecting = client(t).connect(targets, { createConnection })
  await t.throwsAsync(connecting, { code: 'ERR_CIO_CONNECT' })
})

test('a socket that is connected later is waited for', async (t) => {
  const ctx = await client(t).connect({ ...(await named(t, 'there')), createConnection })
  t.is(ctx.remote.endsWith(String(ctx.options.port)), true)
  t.is(await readAll(ctx), 'there')
})

/** A Duplex that says of itself that it still connects, as sockets of other libraries do. */
function pending(): Duplex & { connecting: boolean } {
  const [near] = duplexPair()
  return Object.assign(near, { connecting: true })
}

test('connectTimeout bounds a stream that never connects, and destroys it', async (t) => {
  const stream = pending()
  const connecting = client(t).connect({
    host,
    port: 1,
    connectTimeout: 20,
    createConnection: () => stream,
  })
  await t.throwsAsync(connecting, { code: 'ERR_CIO_CONNECT_TIMEOUT' })
  t.true(stream.destroyed)
})

test('a signal ends the wait for it', async (t) => {
  const stream = pending()
  const abort = new AbortController()
  const reason = new Error('mine')
  const connecting = client(t).connect({
    host,
    port: 1,
    signal: abort.signal,
    createConnection: () => {
      setImmediate(() => abort.abort(reason))
      return stream
    },
  })
  await t.throwsAsync(connecting, { is: reason })
  if (!stream.destroyed) await once(stream, 'close')
  t.pass()
})

test('a stream that is closed, or closes before it is connected, is none', async (t) => {
  const closed = pending()
  closed.destroy()
  await once(closed, 'close')
  const closing = pending()
  for (const stream of [closed, closing]) {
    const connecting = client(t).connect({
      host,
      port: 1,
      createConnection: () => {
        setImmediate(() => stream.destroy())
        return stream
      },
    })
    await t.throwsAsync(connecting, { code: 'ERR_CIO_CONNECT' })
  }
  const failed = pending()
  const mine = new Error('mine')
  const connecting = client(t).connect({
    host,
    port: 1,
    createConnection: () => failed.destroy(mine),
  })
  await t.throwsAsync(connecting, { is: mine })
})

test('a stream that is connected already is taken as it is, without a turn of waiting', async (t) => {
  const [near] = duplexPair()
  t.is(await untilConnected(near, 'there', new AbortController().signal), near)
  t.is(near.listenerCount('close'), 0)
})

test('a stream keeps no listener of the wait', async (t) => {
  const stream = pending()
  const waiting = untilConnected(stream, 'there', new AbortController().signal)
  stream.connecting = false
  stream.emit('connect')
  await waiting
  for (const event of ['connect', 'secure', 'secureConnect', 'close']) {
    t.is(stream.listenerCount(event), 0, event)
  }
})

test('TLS of the stream itself is waited for as well, and its refusal is the error', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end('secret')),
    {
      ...identity('server'),
      host,
    },
  )
  const secure =
    (ca: string): CreateConnection =>
    ({ port }) =>
      connectTls({ port: port!, host, ca: contents(ca), servername: 'localhost' })
  const { port } = server
  const ctx = await client(t).connect({ port, createConnection: secure('root.crt') })
  t.is(await readAll(ctx), 'secret')
  const refused = client(t).connect({ port, createConnection: secure('other.crt') })
  await t.throwsAsync(refused, { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
})

test('reconnect tries again where such a socket fails', async (t) => {
  const port = await ownPort()
  const app = client(t).useClient(reconnect({ delay: 1 }))
  let server: Server | undefined
  app.once('reconnect', () => {
    server = createServer((socket) => socket.end('back'))
    server.listen(port, host)
    t.teardown(() => server!.close())
  })
  const ctx = await app.connect({ host, port, createConnection })
  t.truthy(server)
  t.is(await readAll(ctx), 'back')
})

test('a proxy is reached over such a socket, and one that refuses is said', async (t) => {
  const there = await named(t, 'through it')
  const proxy = await httpProxy(t)
  const app = client(t).useClient(httpConnect({ host: proxy.host, port: proxy.port }))
  const ctx = await app.connect({ ...there, createConnection })
  t.is(await readAll(ctx), 'through it')
  const dead = client(t).useClient(httpConnect({ host, port: await ownPort() }))
  await t.throwsAsync(dead.connect({ ...there, createConnection }), { code: 'ECONNREFUSED' })
})

test('what a proxy middleware gives back may still connect, too', async (t) => {
  const dead = await ownPort()
  const jump = defineMiddleware<ClientContext>({ name: 'jump', before: 'connect' }, (ctx, next) =>
    viaProxy(ctx, { host, port: ctx.options.port! }, next, async (stream) => {
      stream.destroy()
      return connectNet(dead, host)
    }),
  )
  const there: ConnectOptions = await named(t, 'never read')
  const connecting = client(t).useClient(jump).connect(there)
  await t.throwsAsync(connecting, { code: 'ECONNREFUSED' })
})

test('handle() waits for a socket that still connects', async (t) => {
  const { host, port } = await named(t, 'there')
  const app = new Cio().useConnection(async (ctx) => {
    t.is(ctx.remote, `${host}:${port}`)
    t.is(await readAll(ctx), 'there')
  })
  const ctx = app.handle(connectNet(port, host))
  await ctx.closed
  t.plan(2)
})

test('handle() runs nothing over a socket that cannot connect', async (t) => {
  const app = new Cio().useConnection(() => t.fail())
  closeAfter(t, app)
  const errors: unknown[] = []
  for (const event of ['error', 'remoteError'] as const) {
    app.on(event, (error: NodeJS.ErrnoException) => errors.push(event, error.code))
  }
  await app.handle(connectNet(await ownPort(), host)).closed
  t.deepEqual(errors, ['remoteError', 'ECONNREFUSED'])
})

test('close() ends a connection whose socket still connects', async (t) => {
  const app = new Cio().useConnection(() => t.fail())
  app.on('error', (error) => t.fail(error.message))
  const [stream] = duplexPair()
  const ctx = app.handle(Object.assign(stream, { connecting: true }))
  t.deepEqual(await ctx.close(), { forced: 0 })
  t.true(stream.destroyed)
})
