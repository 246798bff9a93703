import test from 'ava'
import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import {
  type ConnectOptions,
  Cio,
  type CioError,
  type ClientContext,
  lines,
  reconnect,
} from '../../src/index.ts'
import { contents, identity, path as certificate } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, listenBare, readAll, serve } from '../support/serve.ts'
import { type Transport, deferred, networks, nextEvent, optionsOf } from '../support/transports.ts'

const host = '127.0.0.1'

const echo = (): Cio =>
  new Cio().useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })

/** A bare server, and the sockets that it accepts, one by one. */
async function bare(
  t: Parameters<typeof listenBare>[0],
): Promise<{ port: number; accepted: () => Promise<Socket> }> {
  const server = createServer({ allowHalfOpen: true })
  const sockets: Socket[] = []
  const waiting: ((socket: Socket) => void)[] = []
  server.on('connection', (socket) => {
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    const next = waiting.shift()
    if (next) next(socket)
    else sockets.push(socket)
  })
  const port = await listenBare(t, server)
  const accepted = (): Promise<Socket> => {
    const socket = sockets.shift()
    return socket ? Promise.resolve(socket) : new Promise((resolve) => waiting.push(resolve))
  }
  return { port, accepted }
}

/** A client app that is closed with the test. */
function client(t: Parameters<typeof listenBare>[0]): Cio {
  const app = new Cio()
  closeAfter(t, app)
  return app
}

// Connecting

for (const transport of ['tcp', 'unix', 'TLS 1.3', 'TLS 1.2'] satisfies Transport[]) {
  test(`a client talks and closes over ${transport}`, async (t) => {
    const app = client(t)
    const options = optionsOf(t, transport)
    const serving = echo()
    t.teardown(() => serving.close({ timeout: 0 }))
    const server = await serving.listen(options)
    const version = transport === 'TLS 1.2' ? 'TLSv1.2' : 'TLSv1.3'
    const tls = { ca: certificate('root.crt'), minVersion: version, maxVersion: version } as const
    const place = options.path === undefined ? { host, port: server.port } : { path: options.path }
    const ctx = await app.connect({ ...place, ...(transport.startsWith('TLS') && tls) })
    t.is(ctx.encrypted, transport.startsWith('TLS'))
    ctx.stream.end('hello')
    t.is(await readAll(ctx), 'hello')
    t.deepEqual(await ctx.close(), { forced: 0 })
    t.true(ctx.stream.destroyed)
    t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
  })
}

test('connect takes a port, a port in a string, and a path', async (t) => {
  const app = client(t)
  const server = await serve(t, echo(), { host: 'localhost' })
  const options = optionsOf(t, 'unix')
  const local = echo()
  t.teardown(() => local.close({ timeout: 0 }))
  await local.listen(options)
  for (const target of [server.port, String(server.port), options.path!]) {
    const ctx = await app.connect(target)
    ctx.stream.end('hello')
    t.is(await readAll(ctx), 'hello')
    await ctx.close()
  }
  const ctx = await app.connect(server.port, { noDelay: false })
  await ctx[Symbol.asyncDispose]()
  t.true(ctx.isClosed)
})

test('connect resolves to what the middleware have put on the context, once they have', async (t) => {
  const order: string[] = []
  const app = client(t)
    .useClient<{ greeting: string }>(async (ctx, next) => {
      ctx.greeting = await new Promise((resolve) => setImmediate(() => resolve('hello')))
      order.push('decorated')
      await next()
      order.push('over')
    })
    .useClient(
      async (_, next) => {
        order.push('before')
        await next()
        order.push('after')
      },
      { before: 'connect' },
    )
  const server = await serve(t, echo())
  const ctx = await app.connect({ host, port: server.port })
  order.push('connected')
  t.is(ctx.greeting, 'hello')
  t.true(ctx.wasReady)
  await ctx.close()
  t.deepEqual(order, ['before', 'decorated', 'connected', 'over', 'after'])
})

test('ctx.stream before `connect` says what is wrong', async (t) => {
  const app = client(t)
  app.useClient(
    function tooSoon(ctx, next) {
      ctx.stream.write('x')
      return next()
    },
    { before: 'connect' },
  )
  const error = await t.throwsAsync<CioError>(app.connect({ host, port: 1 }), {
    code: 'ERR_CIO_NOT_CONNECTED',
  })
  t.true(error.message.includes('`tooSoon`'))
})

test('connect rejects with Node’s error, and no event tells it again', async (t) => {
  const app = client(t)
  for (const event of ['error', 'remoteError', 'reject'] as const)
    app.on(event, () => t.fail(event))
  const port = await ownPort()
  await t.throwsAsync(app.connect({ host, port }), { code: 'ECONNREFUSED' })
  await t.throwsAsync(app.connect('/no/such/socket'), { code: 'ENOENT' })
  await t.throwsAsync(app.connect({ host, port: 70_000 }), { code: 'ERR_CIO_OPTION' })
  await t.throwsAsync(app.connect({ host, port, connectTimeout: -1 }), { code: 'ERR_CIO_OPTION' })
  await t.throwsAsync(app.connect({ host, port, flushTimeout: -1 }), { code: 'ERR_CIO_OPTION' })
})

/** A look-up that never answers, so that a connection is never made. */
const lookup = (): void => {}

test('connectTimeout bounds the whole of connecting', async (t) => {
  const connecting = client(t).connect({
    host: 'nowhere.test',
    port: 1,
    lookup,
    connectTimeout: 20,
  })
  const error = await t.throwsAsync<CioError>(connecting, { code: 'ERR_CIO_CONNECT_TIMEOUT' })
  t.is(error.fault, 'remote')
  t.true(error.message.includes('nowhere.test:1'))
})

test('connect rejects with what a middleware threw, and lets go of the connection', async (t) => {
  const mine = new Error('mine')
  const app = client(t)
  app.on('error', () => t.fail('told twice'))
  app.useClient(() => {
    throw mine
  })
  const { port, accepted } = await bare(t)
  t.is(await t.throwsAsync(app.connect({ host, port })), mine)
  const socket = await accepted()
  socket.resume()
  await once(socket, 'end')
})

test('a middleware that returns without next() before `connect` stops it', async (t) => {
  const app = client(t)
  app.useClient(function quiet() {}, { before: 'connect' })
  const error = await t.throwsAsync<CioError>(app.connect({ host, port: 1 }), {
    code: 'ERR_CIO_STOPPED',
  })
  t.true(error.message.includes('`quiet`'))
})

test('a middleware that does all the talking and returns without next() has connect resolve when it is over', async (t) => {
  const app = client(t)
  app.useClient(async (ctx) => {
    ctx.stream.end('hello')
    ctx.state['said'] = await readAll(ctx)
  })
  const server = await serve(t, echo())
  const ctx = await app.connect({ host, port: server.port })
  t.is(ctx.state['said'], 'hello')
  t.true(ctx.isClosed)
  t.deepEqual(await ctx.close(), { forced: 0 })
})

// Signal and close

test('a signal that has aborted keeps a client from running', async (t) => {
  const reason = new Error('no')
  const app = client(t)
  app.useClient(() => t.fail('it runs'), { before: '*' })
  const connecting = app.connect({ host, port: 1, signal: AbortSignal.abort(reason) })
  t.is(await t.throwsAsync(connecting), reason)
})

for (const when of ['connecting', 'in a middleware', 'in the handshake']) {
  test(`a signal that aborts ${when} rejects connect with its reason`, async (t) => {
    const reason = new Error('no')
    const controller = new AbortController()
    const { signal } = controller
    const app = client(t)
    app.on('remoteError', (error) => t.fail(String(error)))
    app.on('error', (error) => t.fail(String(error)))
    const { port, accepted } = await bare(t)
    const entered = deferred()
    app.useClient(
      async (ctx, next) => {
        entered.resolve()
        if (when === 'in a middleware') await once(ctx.signal, 'abort')
        await next()
      },
      { before: 'connect' },
    )
    const connecting =
      when === 'connecting'
        ? app.connect({ host: 'nowhere.test', port, lookup, signal })
        : app.connect({ host, port, signal, tls: when === 'in the handshake' })
    const rejected = t.throwsAsync(connecting)
    await entered.promise
    const socket = when === 'in the handshake' ? await accepted() : undefined
    controller.abort(reason)
    t.is(await rejected, reason)
    if (socket) {
      socket.resume()
      await new Promise((resolve) => socket.once('end', resolve).once('close', resolve))
    }
  })
}

test('a signal that aborts at the moment of connecting leaves no connection behind', async (t) => {
  const reason = new Error('no')
  const controller = new AbortController()
  const app = client(t)
  const { port, accepted } = await bare(t)
  const connecting = app.connect({ host, port, signal: controller.signal })
  const rejected = t.throwsAsync(connecting)
  // The server has it before the client is told.
  const socket = await accepted()
  controller.abort(reason)
  socket.resume()
  t.is(await rejected, reason)
  await new Promise((resolve) => socket.once('end', resolve).once('close', resolve))
})

for (const transport of ['tcp', 'TLS']) {
  test(`${transport}: a signal that aborts once it is connected closes the client gracefully`, async (t) => {
    const isTcp = transport === 'tcp'
    const controller = new AbortController()
    const server = await serve(t, echo(), isTcp ? {} : identity('server'))
    const app = client(t)
    app.on('error', (error) => t.fail(String(error)))
    const tls = isTcp ? {} : { ca: contents('root.crt'), servername: 'localhost' }
    const { signal } = controller
    const ctx = await app.connect({ host, port: server.port, signal, ...tls })
    const [connection] = server.connections
    controller.abort()
    await ctx.closed
    t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
    await connection!.closed
  })
}

test('app.close() during connect makes it reject with ERR_CIO_CLOSED', async (t) => {
  const app = client(t)
  const connecting = app.connect({ host: 'nowhere.test', port: 1, lookup })
  const rejected = t.throwsAsync(connecting, { code: 'ERR_CIO_CLOSED' })
  await new Promise(setImmediate)
  await app.close()
  await rejected
})

test('close flushes what was written', async (t) => {
  const size = 8 * 1024 * 1024
  const { port, accepted } = await bare(t)
  const ctx = await client(t).connect({ host, port })
  const socket = await accepted()
  ctx.stream.write(Buffer.alloc(size))
  const closing = ctx.close()
  let received = 0
  socket.on('data', (chunk: Buffer) => (received += chunk.length))
  await once(socket, 'end')
  t.is(received, size)
  socket.end()
  t.deepEqual(await closing, { forced: 0 })
})

test('close destroys a client at its deadline', async (t) => {
  const { port, accepted } = await bare(t)
  const ctx = await client(t).connect({ host, port })
  await accepted()
  ctx.stream.write(Buffer.alloc(32 * 1024 * 1024))
  t.deepEqual(await ctx.close({ timeout: 20 }), { forced: 1 })
  t.true(ctx.stream.destroyed)
})

test('a middleware of a client that never returns does not hold up close', async (t) => {
  const app = client(t)
  app.useClient(async function endless(_, next) {
    await next()
    await new Promise(() => {})
  })
  const told = nextEvent(app, 'error')
  const server = await serve(t, echo())
  const ctx = await app.connect({ host, port: server.port })
  await ctx.close({ timeout: 20 })
  t.like((await told)[0], { code: 'ERR_CIO_STUCK' })
})

// The server's doing

test('a client is over when the server has ended and nobody could answer', async (t) => {
  const app = client(t)
  const { port, accepted } = await bare(t)
  const ctx = await app.connect({ host, port })
  ctx.stream.resume()
  const socket = await accepted()
  socket.resume()
  socket.end()
  await ctx.closed
  t.like(ctx.signal.reason, { code: 'ERR_CIO_CLOSED' })
})

test('a client that loops to the end of a server is over', async (t) => {
  const app = client(t)
  const { port, accepted } = await bare(t)
  const ctx = await app.connect({ host, port })
  const socket = await accepted()
  socket.resume()
  socket.end('bye')
  t.is(await readAll(ctx), 'bye')
  await ctx.closed
  t.true(ctx.isClosed)
})

test('a reset once it is connected is told by remoteError, once', async (t) => {
  const app = client(t)
  app.on('error', (error) => t.fail(String(error)))
  const told: unknown[] = []
  app.on('remoteError', (error, ctx) => told.push([error, ctx]))
  const { port, accepted } = await bare(t)
  const ctx = await app.connect({ host, port })
  const aborted = once(ctx.signal, 'abort')
  ;(await accepted()).resetAndDestroy()
  await aborted
  await ctx.closed
  t.is((ctx.signal.reason as NodeJS.ErrnoException).code, 'ECONNRESET')
  t.deepEqual(told, [[ctx.signal.reason, ctx]])
})

test('a reset before the handshake makes connect reject', async (t) => {
  const app = client(t)
  const { port, accepted } = await bare(t)
  const connecting = app.connect({ host, port, tls: true })
  const rejected = t.throwsAsync<CioError>(connecting, { code: 'ERR_CIO_HANDSHAKE' })
  const socket = await accepted()
  // The hello of the client.
  await once(socket, 'data')
  socket.resetAndDestroy()
  const error = await rejected
  t.is((error.cause as NodeJS.ErrnoException).code, 'ECONNRESET')
})

test('an end in place of a handshake makes connect reject', async (t) => {
  const app = client(t)
  const { port, accepted } = await bare(t)
  const connecting = app.connect({ host, port, tls: true })
  const rejected = t.throwsAsync(connecting, { code: 'ERR_CIO_HANDSHAKE' })
  const socket = await accepted()
  socket.resume()
  socket.end()
  await rejected
})

test('a handshake over a connection that was reset before it fails at once', async (t) => {
  const app = client(t)
  app.useClient(
    async function waits(ctx, next) {
      await new Promise((resolve) => ctx.stream.once('close', resolve))
      await next()
    },
    { before: 'secure', after: 'connect' },
  )
  const { port, accepted } = await bare(t)
  const connecting = app.connect({ host, port, tls: true, handshakeTimeout: Infinity })
  const rejected = t.throwsAsync(connecting)
  ;(await accepted()).resetAndDestroy()
  t.true(['ERR_CIO_HANDSHAKE', 'ECONNRESET'].includes(((await rejected) as CioError).code))
})

test('what a middleware of a client throws once it is connected is told by error', async (t) => {
  const mine = new Error('mine')
  const app = client(t)
  app.useClient(async (_, next) => {
    await next()
    throw mine
  })
  const told = nextEvent(app, 'error')
  const server = await serve(t, echo())
  const ctx = await app.connect({ host, port: server.port })
  await ctx.close()
  t.deepEqual(await told, [mine, ctx])
})

test('ctx.destroy(error) of a client is told by error, and ends it at once', async (t) => {
  const mine = new Error('mine')
  const app = client(t)
  const told = nextEvent(app, 'error')
  const server = await serve(t, echo())
  const ctx: ClientContext = await app.connect({ host, port: server.port })
  ctx.destroy(mine)
  await ctx.closed
  t.deepEqual(await told, [mine, ctx])
  t.is(ctx.signal.reason, mine)
})

test('secure is told at both ends', async (t) => {
  const serving = echo()
  const app = client(t)
  const theirs = nextEvent(serving, 'secure')
  const ours = nextEvent(app, 'secure')
  const server = await serve(t, serving, identity('server'))
  const ctx = await app.connect({ host, port: server.port, ca: certificate('root.crt') })
  t.is((await ours)[0], ctx)
  t.true((await theirs)[0].encrypted)
})

for (const transport of networks) {
  test(`an end behind unread input is noticed at a client that only sends (nodejs/node#32575), over ${transport}`, async (t) => {
    const server = new Cio().useConnection((ctx) => void ctx.stream.end('hello\nagain\n'))
    const { port } = await serve(t, server, transport === 'tcp' ? {} : identity('server'))
    const app = new Cio().useClient(reconnect({ delay: 1, retries: Infinity })).useClient(lines())
    closeAfter(t, app)
    const left = once(app, 'disconnect')
    const back = nextEvent(app, 'connect').then(() => nextEvent(app, 'connect'))
    const tls = transport === 'tcp' ? {} : { ca: contents('root.crt'), servername: 'localhost' }
    await app.connect({ host: '127.0.0.1', port, ...tls })
    const [error, , end] = await left
    t.is(error, undefined)
    t.like(end, { reason: 'remote_ended' })
    await back
  })

  test(`what was unread at such an end stays for a later reader, over ${transport}`, async (t) => {
    const server = new Cio().useConnection((ctx) => void ctx.stream.end('hello\nagain'))
    const { port } = await serve(t, server, transport === 'tcp' ? {} : identity('server'))
    const tls = transport === 'tcp' ? {} : { ca: contents('root.crt'), servername: 'localhost' }
    const place = { host: '127.0.0.1', port, ...tls }

    const decoded = new Cio().useClient(lines())
    closeAfter(t, decoded)
    const client = await decoded.connect(place)
    await client.closed
    const said: string[] = []
    for await (const line of client.messages) said.push(line)
    t.deepEqual(said, ['hello', 'again'])

    const raw = new Cio()
    closeAfter(t, raw)
    const other = await raw.connect(place)
    await other.closed
    t.is(await readAll(other), 'hello\nagain')
  })
}

test('beyond a high-water mark, backpressure holds an unread server back, and nothing is lost', async (t) => {
  const size = 8 * 1024 * 1024
  const server = new Cio().useConnection((ctx) => void ctx.stream.end(Buffer.alloc(size)))
  const { port } = await serve(t, server)
  const app = new Cio()
  closeAfter(t, app)
  const client = await app.connect({ host: '127.0.0.1', port })
  while (client.stream.readableLength === 0) await new Promise(setImmediate)
  let came = 0
  for await (const chunk of client) came += chunk.length
  t.is(came, size)
})

test('a reset that nothing reads is noticed at a client', async (t) => {
  const sockets = deferred<Socket>()
  const port = await listenBare(
    t,
    createServer((socket) => sockets.resolve(socket)),
  )
  const app = new Cio()
  const left = once(app, 'disconnect')
  app.on('remoteError', () => {})
  closeAfter(t, app)
  await app.connect({ host: '127.0.0.1', port })
  ;(await sockets.promise).resetAndDestroy()
  t.is(((await left)[0] as NodeJS.ErrnoException).code, 'ECONNRESET')
})

for (const [what, found, code] of [
  ['no address', [], 'ENOTFOUND'],
  ['nothing', undefined, 'ENOTFOUND'],
  ['what is no address', [{ address: 5, family: 'x' }], 'ERR_INVALID_IP_ADDRESS'],
] as const) {
  test(`a lookup that finds ${what}, later, fails the connection, and the process stays`, async (t) => {
    const lookup: ConnectOptions['lookup'] = (_, how, done) =>
      setImmediate(done, null, found as never)
    const connecting = new Cio().connect({ host: 'a.test', port: 1, lookup })
    await t.throwsAsync(connecting, { code })
  })
}
