import test from 'ava'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, connect as connectNet } from 'node:net'
import { Cio, type CioError, type ServerContext, allowList } from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import { deferred, dialOver, networks, open, optionsOf, socketPath } from '../support/transports.ts'
import { built, flags } from '../support/typescript.ts'

const hello = (): Cio =>
  new Cio().useConnection(async function hello(ctx) {
    ctx.stream.end('hello')
  })

/** A handler that stays until its connection is told to finish. */
const patient = (): Cio =>
  new Cio().useConnection(async function patient(ctx) {
    const { draining } = ctx
    if (!draining.aborted) {
      await new Promise((resolve) => draining.addEventListener('abort', resolve))
    }
    ctx.stream.write('bye')
  })

async function says(place: { port?: number; path?: string; host?: string }): Promise<string> {
  return readAll(connectNet(place as { port: number }))
}

// Listening

test('listen takes a port, and 0 is a free one', async (t) => {
  const app = hello()
  closeAfter(t, app)
  const server = await app.listen(0, { host: '127.0.0.1' })
  t.true(server.port > 0)
  t.like(server.address, { address: '127.0.0.1', family: 'IPv4', port: server.port })
  t.is(await says({ port: server.port, host: '127.0.0.1' }), 'hello')
})

test('listen takes a port in a string, as an environment variable has it', async (t) => {
  const app = hello()
  closeAfter(t, app)
  const { port } = await app.listen('0', { host: '127.0.0.1' })
  t.true(port > 0)
})

test('listen without arguments takes a free port', async (t) => {
  const app = hello()
  closeAfter(t, app)
  const { port } = await app.listen()
  t.is(await says({ port }), 'hello')
})

test('listen takes the path of a Unix socket, which is gone after close', async (t) => {
  const app = hello()
  const path = socketPath(t)
  const server = await app.listen(path)
  t.is(server.address, path)
  t.is(server.port, 0)
  t.is(await says({ path }), 'hello')
  await server.close()
  t.false(existsSync(path))
})

test('listen takes IPv6', async (t) => {
  const server = await serve(t, hello(), { host: '::1' })
  t.like(server.address, { address: '::1', family: 'IPv6' })
  t.is(await says({ port: server.port, host: '::1' }), 'hello')
})

test('one app listens several times, and closes each by itself', async (t) => {
  const app = hello()
  const first = await serve(t, app)
  const path = socketPath(t)
  await app.listen(path)
  t.is(await says({ port: first.port, host: '127.0.0.1' }), 'hello')
  await first.close()
  t.is(first.address, null)
  t.is(await says({ path }), 'hello')
})

test('listen refuses a descriptor that is no number, as from the environment', async (t) => {
  const error = { code: 'ERR_CIO_OPTION', message: /`fd`.*"3" \(string\)/ }
  await t.throwsAsync(new Cio().listen({ fd: '3' as never }), error)
})

test('listen takes a descriptor that listens already', async (t) => {
  const bare = createServer()
  bare.listen(0, '127.0.0.1')
  await once(bare, 'listening')
  const { port } = bare.address() as { port: number }
  const { fd } = (bare as unknown as { _handle: { fd: number } })._handle
  const program = `
    import { Cio } from ${JSON.stringify(built(new URL('../../src/index.ts', import.meta.url)))}
    const app = new Cio().useConnection((ctx) => void ctx.stream.end('from the child'))
    app.on('close', () => app.close())
    await app.listen({ fd: 3 })
    console.log('ready')`
  const child: ChildProcess = spawn(
    process.execPath,
    [...flags, '--input-type=module', '--eval', program],
    { stdio: ['ignore', 'pipe', 'inherit', fd] },
  )
  const exit = once(child, 'exit')
  t.teardown(() => child.kill())
  await once(child.stdout!, 'data')
  // From here on only the child accepts.
  bare.close()
  t.is(await says({ port, host: '127.0.0.1' }), 'from the child')
  t.deepEqual(await exit, [0, null])
})

test('Node’s own options of listening are passed on', async (t) => {
  const server = await serve(t, patient())
  t.truthy(server.server)
  server.server!.maxConnections = 1
  await dial(t, server)
  const dropped = once(server.server!, 'drop')
  await dial(t, server)
  await dropped
  t.is(server.connections.size, 1)
  await t.throwsAsync(serve(t, new Cio(), { port: 70_000 }), { code: 'ERR_CIO_OPTION' })
})

test('listen refuses a flushTimeout and a handshakeTimeout that are no durations', async (t) => {
  for (const option of ['flushTimeout', 'handshakeTimeout']) {
    const error = await t.throwsAsync<CioError>(serve(t, new Cio(), { [option]: -1 }), {
      code: 'ERR_CIO_OPTION',
    })
    t.true(error.message.includes(option))
  }
})

// What goes wrong before it listens

test('listen rejects with what a middleware threw before it listens', async (t) => {
  const mine = new Error('mine')
  const app = new Cio().useServer(() => {
    throw mine
  })
  app.on('error', () => t.fail('told twice'))
  t.is(await t.throwsAsync(serve(t, app)), mine)
})

test('listen rejects with ERR_CIO_STOPPED when a middleware returns without next()', async (t) => {
  const app = new Cio().useServer(function quiet() {})
  const error = await t.throwsAsync<CioError>(serve(t, app), { code: 'ERR_CIO_STOPPED' })
  t.true(error.message.includes('`quiet`'))
})

test('listen rejects when a middleware after `listen` returns without next(), and lets go of the port', async (t) => {
  let port = 0
  const app = new Cio().useServer(
    function quiet(ctx) {
      port = ctx.port
    },
    { after: 'listen' },
  )
  await t.throwsAsync(serve(t, app), { code: 'ERR_CIO_STOPPED' })
  t.true(port > 0)
  await serve(t, new Cio(), { port })
})

test('a server whose middleware fails after it listens is told by error, with its context', async (t) => {
  const mine = new Error('mine')
  const app = new Cio().useServer(async (_, next) => {
    await next()
    throw mine
  })
  const told = once(app, 'error')
  const server = await serve(t, app)
  await server.close()
  t.deepEqual(await told, [mine, server])
})

test('the server’s middleware wait for the connections when one of them fails', async (t) => {
  const order: string[] = []
  const fails = deferred()
  const app = new Cio()
    .useServer(async (_, next) => {
      try {
        await next()
      } finally {
        order.push('outer returns')
      }
    })
    .useServer(
      async (_, next) => {
        void next()
        await fails.promise
        throw new Error('mine')
      },
      { after: 'listen' },
    )
    .useConnection(async (ctx) => {
      await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve))
      ctx.stream.end('bye')
    })
  app.on('close', () => order.push('connection ends'))
  const told = once(app, 'error')
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const socket = await dial(t, server)
  await opened
  fails.resolve()
  const said = readAll(socket)
  socket.end()
  t.is(await said, 'bye')
  t.is(((await told)[0] as Error).message, 'mine')
  t.deepEqual(order, ['connection ends', 'outer returns'])
})

// Signal

test('a signal that is none is refused, and nothing is left to close', async (t) => {
  const app = new Cio()
  const signal = 1_000 as unknown as AbortSignal
  await t.throwsAsync(app.listen(0, { signal }), { code: 'ERR_CIO_OPTION', message: /`signal`/ })
  await t.throwsAsync(app.connect(1, { signal }), { code: 'ERR_CIO_OPTION', message: /`signal`/ })
  t.deepEqual(await app.close(), { forced: 0 })
})

test('a signal that has aborted keeps everything from running', async (t) => {
  const reason = new Error('no')
  const app = new Cio().useServer(async (_, next) => {
    t.fail('it runs')
    await next()
  })
  const listening = serve(t, app, { signal: AbortSignal.abort(reason) })
  t.is(await t.throwsAsync(listening), reason)
})

test('a signal that aborts before it listens rejects listen with its reason at once', async (t) => {
  const controller = new AbortController()
  const reason = new Error('no')
  const entered = deferred()
  const app = new Cio().useServer(async function endless(_, next) {
    entered.resolve()
    await new Promise(() => {})
    await next()
  })
  const told = once(app, 'error')
  const listening = serve(t, app, { signal: controller.signal })
  await entered.promise
  controller.abort(reason)
  t.is(await t.throwsAsync(listening), reason)
  t.deepEqual(await app.close({ timeout: 0 }), { forced: 0 })
  t.like((await told)[0], { code: 'ERR_CIO_STUCK' })
})

test('a signal that aborts during the look-up of the host leaves no server behind', async (t) => {
  const controller = new AbortController()
  const app = new Cio()
  const runs: ServerContext[] = []
  app.useServer(async (ctx, next) => {
    runs.push(ctx)
    await next()
  })
  const listening = app.listen({ port: 0, host: 'localhost', signal: controller.signal })
  while (!runs[0]?.server) await new Promise(setImmediate)
  controller.abort()
  await t.throwsAsync(listening, { any: true, name: 'AbortError' })
  // Were it to listen after all, it would tell by now.
  const control = await serve(t, new Cio(), { host: 'localhost' })
  t.true(control.port > 0)
  t.false(runs[0].server.listening)
})

test('a signal that aborts after it listens closes the server', async (t) => {
  const controller = new AbortController()
  const server = await serve(t, patient(), { signal: controller.signal })
  const opened = once(server.app, 'connection')
  const socket = await dial(t, server)
  await opened
  const said = readAll(socket)
  controller.abort()
  socket.end()
  t.is(await said, 'bye')
  await server.closed
  t.is(server.address, null)
})

test('a signal of the user’s keeps no listener of a run that is over', async (t) => {
  const { signal, count } = counted()
  const server = await serve(t, new Cio(), { signal })
  t.is(count(), 1)
  await server.close()
  t.is(count(), 0)
  await t.throwsAsync(serve(t, new Cio(), { signal, port: 70_000 }))
  t.is(count(), 0)
})

/** A signal that counts its listeners. */
function counted(): { signal: AbortSignal; count: () => number } {
  const { signal } = new AbortController()
  const listeners = new Set<unknown>()
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = (type: string, listener: () => void): void => {
    listeners.add(listener)
    add(type, listener)
  }
  signal.removeEventListener = (type: string, listener: () => void): void => {
    listeners.delete(listener)
    remove(type, listener)
  }
  return { signal, count: () => listeners.size }
}

// Closing

test('close waits for the connections, which are asked to finish', async (t) => {
  const server = await serve(t, patient(), { port: await ownPort() })
  const opened = once(server.app, 'connection')
  const socket = await dial(t, server)
  await opened
  const closing = server.close()
  const refused = await t.throwsAsync(dial(t, server))
  t.is((refused as NodeJS.ErrnoException).code, 'ECONNREFUSED')
  const said = readAll(socket)
  socket.end()
  t.is(await said, 'bye')
  t.deepEqual(await closing, { forced: 0 })
  t.is(server.connections.size, 0)
})

test('`finally` of a server’s middleware runs after the last connection has ended', async (t) => {
  const order: string[] = []
  const app = patient()
  app.useServer(async (ctx, next) => {
    order.push('opened')
    try {
      await next()
    } finally {
      order.push(`closed with ${ctx.connections.size} connections, port ${ctx.port}`)
    }
  })
  app.on('listening', () => order.push('listening'))
  app.on('close', () => order.push('a connection ended'))
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const socket = await dial(t, server)
  await opened
  socket.end()
  socket.resume()
  await server.close()
  t.deepEqual(order, [
    'opened',
    'listening',
    'a connection ended',
    'closed with 0 connections, port 0',
  ])
})

/** An app whose handler ends only when it is destroyed. */
const stubborn = (): Cio =>
  new Cio().useConnection(async function stubborn(ctx) {
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
  })

async function connected(
  t: Parameters<typeof dial>[0],
  app: Cio,
  many = 1,
): Promise<ServerContext> {
  const server = await serve(t, app)
  for (let index = 0; index < many; index++) {
    const opened = once(app, 'connection')
    await dial(t, server)
    await opened
  }
  return server
}

test('close destroys what is left at its deadline, and counts it', async (t) => {
  const app = stubborn()
  const codes: unknown[] = []
  app.on('remoteError', (error) => codes.push((error as CioError).code))
  const server = await connected(t, app, 3)
  t.deepEqual(await server.close({ timeout: 20 }), { forced: 3 })
  t.deepEqual(codes, Array(3).fill('ERR_CIO_DRAIN_TIMEOUT'))
})

test('close with a timeout of 0 destroys at once', async (t) => {
  const server = await connected(t, stubborn(), 2)
  const closing = server.close({ timeout: 0 })
  for (const ctx of server.connections) t.true(ctx.stream.destroyed)
  t.deepEqual(await closing, { forced: 2 })
})

test('close may be called again, and a shorter time counts', async (t) => {
  const server = await connected(t, stubborn())
  const first = server.close({ timeout: Infinity })
  const second = server.close({ timeout: 10 })
  t.deepEqual(await Promise.all([first, second]), [{ forced: 1 }, { forced: 1 }])
  t.deepEqual(await server.close(), { forced: 1 })
})

test('close refuses a time that is no duration, and closes nothing', async (t) => {
  const server = await serve(t, new Cio())
  await t.throwsAsync(server.close({ timeout: -1 }), { code: 'ERR_CIO_OPTION' })
  await t.throwsAsync(server.close({ timeout: Number.NaN }), { code: 'ERR_CIO_OPTION' })
  t.not(server.address, null)
})

test('disposing closes, as `await using` does', async (t) => {
  const server = await serve(t, new Cio())
  await server[Symbol.asyncDispose]()
  t.is(server.address, null)
  const app = new Cio()
  const other = await serve(t, app)
  await app[Symbol.asyncDispose]()
  t.is(other.address, null)
})

test('close during a listen that is under way makes it reject with ERR_CIO_CLOSED', async (t) => {
  const goes = deferred()
  const app = new Cio().useServer(async (_, next) => {
    await goes.promise
    await next()
  })
  const listening = t.throwsAsync(serve(t, app), { code: 'ERR_CIO_CLOSED' })
  await new Promise(setImmediate)
  const closing = app.close()
  goes.resolve()
  await listening
  t.deepEqual(await closing, { forced: 0 })
})

test('a middleware that never returns does not hold up close, and error names it', async (t) => {
  const app = new Cio().useConnection(async function endless() {
    await new Promise(() => {})
  })
  const told = once(app, 'error')
  const server = await connected(t, app)
  const closings = [server.close({ timeout: 5 }), server.close({ timeout: 10 })]
  t.deepEqual(await Promise.all(closings), [{ forced: 1 }, { forced: 1 }])
  const [error] = (await told) as [CioError]
  t.is(error.code, 'ERR_CIO_STUCK')
  t.true(error.message.includes('`endless`'))
  t.is(server.connections.size, 0)
})

test('silent handshakes do not hold up close, and are no error of the peer', async (t) => {
  const app = hello()
  app.on('remoteError', (error) => t.fail(String(error)))
  const server = await serve(t, app, identity('server'))
  const opened = once(app, 'connection')
  await dial(t, server)
  await opened
  t.deepEqual(await server.close({ timeout: Infinity }), { forced: 0 })
})

for (const transport of networks) {
  test(`a connection over ${transport} that is under way ends before close does`, async (t) => {
    const app = patient()
    const opened = once(app, transport === 'tcp' ? 'connection' : 'secure')
    const client = await open(t, app, transport)
    await opened
    const closing = app.close()
    client.end()
    t.is(await readAll(client), 'bye')
    t.deepEqual(await closing, { forced: 0 })
  })
}

test('what is given to a server that is over is cut off', async (t) => {
  const app = new Cio().useConnection((_ctx, next) => next())
  const server = await app.listen({ bind: false })
  await server.close()
  const [near, far] = duplexPair()
  const ctx = server.accept(near)
  t.true(ctx.isClosed)
  await ctx.closed
  t.is(server.connections.size, 0)
  far.destroy()
})

test('destroy of a server cuts its connections off, and is told by error', async (t) => {
  const app = stubborn()
  const told: unknown[] = []
  app.on('error', (error, ctx) => told.push([error, ctx]))
  const server = await connected(t, app, 2)
  const connections = [...server.connections]
  const mine = new Error('mine')
  server.destroy(mine)
  await server.closed
  t.is(server.connections.size, 0)
  t.deepEqual(
    told,
    [...connections, server].map((ctx) => [mine, ctx]),
  )
  t.is(server.signal.reason, mine)
})

test('the signals of a server tell of its closing and of its end', async (t) => {
  const server = await connected(t, patient())
  t.false(server.draining.aborted)
  const closing = server.close({ timeout: 20 })
  t.like(server.draining.reason, { code: 'ERR_CIO_CLOSING' })
  t.false(server.signal.aborted)
  await closing
  t.like(server.signal.reason, { code: 'ERR_CIO_CLOSED' })
})

test('an error of accepting is told by error', async (t) => {
  const app = new Cio()
  const server = await serve(t, app)
  const told = once(app, 'error')
  const mine = Object.assign(new Error('accept EMFILE'), { code: 'EMFILE', syscall: 'accept' })
  server.server!.emit('error', mine)
  t.deepEqual(await told, [mine, server])
})

test('the connections of a server are its own, and are gone when close tells of them', async (t) => {
  const app = patient()
  const one = await serve(t, app)
  const other = await app.listen({ ...optionsOf(t, 'tcp') })
  const opened = once(app, 'connection')
  const socket = await dialOver(t, 'tcp', { port: one.port })
  const [ctx] = await opened
  t.deepEqual([...one.connections], [ctx])
  t.is(other.connections.size, 0)
  const sizes: number[] = []
  app.on('close', () => sizes.push(one.connections.size))
  socket.end()
  await one.close()
  t.deepEqual(sizes, [0])
})

test('a CA given to a server asks for certificates, unless it is told not to', async (t) => {
  const ask = new Cio().useConnection(allowList(['alice'])).useConnection((ctx) => {
    ctx.stream.write(`hello ${ctx.peer?.name}`)
  })
  const options = { ...identity('server'), ca: path('root.crt') }
  const server = await serve(t, ask, options)
  const visitor = { host: 'localhost', port: server.port, ca: path('root.crt') }
  const client = await new Cio().connect({ ...visitor, ...identity('alice') })
  t.teardown(() => client.close({ timeout: 0 }))
  t.is(await readAll(client), 'hello alice')
  const open = await serve(t, new Cio(), { ...options, requestCert: false })
  t.false(open.options.requestCert)
})
