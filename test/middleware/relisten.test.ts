import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Server, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cio, type Relisten, type RelistenOptions, relisten } from '../../src/index.ts'
import { retryContract } from '../contracts/retry.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, dial, listenBare, readAll, serve } from '../support/serve.ts'

/** A port that a server of Node's listens on, and that server. */
async function occupied(t: ExecutionContext): Promise<{ port: number; holder: Server }> {
  const holder = createServer()
  return { port: await listenBare(t, holder, await ownPort()), holder }
}

/** An app that relistens, and the retries that it tells of. */
function relistening(options: RelistenOptions): { app: Cio; retries: Relisten[] } {
  const app = new Cio().useServer(relisten(options)).useConnection(async (ctx) => {
    ctx.stream.end('hello')
  })
  const retries: Relisten[] = []
  app.on('relisten', (retry) => retries.push(retry))
  return { app, retries }
}

/** A delay that the test would time out on: it has to be cut short. */
const forever = { delay: 2 ** 30, maxDelay: Infinity }

retryContract({
  name: 'relisten',
  heals: () => Object.assign(new Error('in use'), { code: 'EADDRINUSE', syscall: 'listen' }),
  register: (app, options, attempt) => {
    app.useServer(relisten(options)).useServer(
      (_ctx, next) => {
        attempt()
        return next()
      },
      { name: 'attempt', after: 'relisten', before: 'listen' },
    )
  },
  listen: (app, listener) => void app.on('relisten', listener),
  run: (t, app, signal) => serve(t, app, signal ? { signal } : {}),
})

test('an address that is in use is listened on when it becomes free', async (t) => {
  const { port, holder } = await occupied(t)
  const { app, retries } = relistening({ retries: 1_000, delay: 2 })
  app.on('relisten', ({ retry }) => {
    if (retry === 2) holder.close()
  })
  const server = await serve(t, app, { port })
  t.is(server.port, port)
  t.true(retries.length >= 2)
  t.is(await readAll(await dial(t, server)), 'hello')
})

test('a server that had to try again lives like any other', async (t) => {
  const { port, holder } = await occupied(t)
  const { app } = relistening({ retries: 1_000, delay: 2 })
  app.once('relisten', () => holder.close())
  const listening: unknown[] = []
  app.on('listening', (server) => listening.push(server))
  const server = await serve(t, app, { port })
  t.false(server.isDraining)
  t.false(server.signal.aborted)
  t.deepEqual(listening, [server])
  for (let connection = 0; connection < 3; connection++) {
    t.is(await readAll(await dial(t, server)), 'hello')
  }
  t.deepEqual(await server.close(), { forced: 0 })
  t.is(server.address, null)
})

test('every retry is told, with its number, delay and error, and the server', async (t) => {
  const { port } = await occupied(t)
  const { app, retries } = relistening({ retries: 3, delay: 1, factor: 2 })
  const servers = new Set<unknown>()
  app.on('relisten', (_retry, server) => servers.add(server))
  await t.throwsAsync(serve(t, app, { port }), { code: 'EADDRINUSE' })
  t.deepEqual(
    retries.map(({ retry, delay }) => [retry, delay]),
    [
      [1, 1],
      [2, 2],
      [3, 4],
    ],
  )
  for (const { error } of retries) t.is((error as NodeJS.ErrnoException).code, 'EADDRINUSE')
  t.is(servers.size, 1)
})

test('it gives up with the original error of Node', async (t) => {
  const { port } = await occupied(t)
  const { app, retries } = relistening({ retries: 2, delay: 1 })
  const error = await t.throwsAsync<NodeJS.ErrnoException>(serve(t, app, { port }), {
    code: 'EADDRINUSE',
  })
  t.is(error.syscall, 'listen')
  t.not(error, retries.at(-1)!.error)
})

test('no retries is one try', async (t) => {
  const { port } = await occupied(t)
  const { app, retries } = relistening({ retries: 0 })
  await t.throwsAsync(serve(t, app, { port }), { code: 'EADDRINUSE' })
  t.deepEqual(retries, [])
})

test('an address that is free is listened on at once', async (t) => {
  const { app, retries } = relistening(forever)
  await serve(t, app)
  t.deepEqual(retries, [])
})

test('an error of another kind is not retried', async (t) => {
  const { app, retries } = relistening(forever)
  // TEST-NET-1: not an address of this machine.
  await t.throwsAsync(serve(t, app, { host: '192.0.2.1' }), { code: 'EADDRNOTAVAIL' })
  t.deepEqual(retries, [])
})

test('an error of a middleware that looks like it is not retried', async (t) => {
  const { app, retries } = relistening(forever)
  const error = Object.assign(new Error('mine'), { code: 'EADDRINUSE' })
  app.useServer(
    () => {
      throw error
    },
    { after: 'relisten' },
  )
  t.is(await t.throwsAsync(serve(t, app)), error)
  t.deepEqual(retries, [])
})

test('an error after it has listened is not retried', async (t) => {
  const { app, retries } = relistening(forever)
  const error = Object.assign(new Error('mine'), { code: 'EADDRINUSE', syscall: 'listen' })
  app.useServer(
    async (_ctx, next) => {
      await next()
      throw error
    },
    { after: 'listen' },
  )
  const told = once(app, 'error')
  const server = await serve(t, app)
  await server.close()
  t.is((await told)[0], error)
  t.deepEqual(retries, [])
})

test('a signal that aborts while it waits ends it at once', async (t) => {
  const { port } = await occupied(t)
  const { app } = relistening(forever)
  const controller = new AbortController()
  const reason = new Error('enough')
  app.once('relisten', () => controller.abort(reason))
  const error = await t.throwsAsync(serve(t, app, { port, signal: controller.signal }))
  t.is(error, reason)
})

test('a signal that aborts in the midst of its waiting ends it at once', async (t) => {
  const { port } = await occupied(t)
  const { app } = relistening(forever)
  const controller = new AbortController()
  const waiting = once(app, 'relisten')
  const listening = serve(t, app, { port, signal: controller.signal })
  await waiting
  // Now the timer runs.
  setImmediate(() => controller.abort(new Error('enough')))
  await t.throwsAsync(listening, { message: 'enough' })
})

test('a close of the app while it waits ends it at once', async (t) => {
  const { port } = await occupied(t)
  const { app } = relistening(forever)
  const waiting = once(app, 'relisten')
  const listening = serve(t, app, { port })
  const refused = t.throwsAsync(listening, { code: 'ERR_CIO_CLOSED' })
  await waiting
  t.deepEqual(await app.close(), { forced: 0 })
  await refused
})

test('one app relistens on several addresses at a time', async (t) => {
  const [first, second] = [await occupied(t), await occupied(t)]
  const { app } = relistening({ retries: 1_000, delay: 2 })
  app.on('relisten', ({ retry }, { options }) => {
    if (options.port === first.port && retry === 3) first.holder.close()
    if (options.port === second.port && retry === 1) second.holder.close()
  })
  const servers = await Promise.all([
    serve(t, app, { port: first.port }),
    serve(t, app, { port: second.port }),
  ])
  t.deepEqual(
    servers.map(({ port }) => port),
    [first.port, second.port],
  )
})

test('what stands outside it runs once, and what it runs again is the listening alone', async (t) => {
  const { port, holder } = await occupied(t)
  const { app } = relistening({ retries: 1_000, delay: 2 })
  app.on('relisten', ({ retry }) => {
    if (retry === 3) holder.close()
  })
  let runs = 0
  // Registered after it, and yet outside.
  app.useServer(function database(_ctx, next) {
    runs++
    return next()
  })
  await serve(t, app, { port })
  t.is(runs, 1)
  t.deepEqual(app.pipelines.server.names, ['certs', 'database', 'relisten', 'listen'])
})

test('it listens again on the path of a Unix socket', async (t) => {
  const path = join(tmpdir(), `cio-relisten-${process.pid}.sock`)
  const holder = createServer()
  holder.listen(path)
  t.teardown(() => holder.close())
  await once(holder, 'listening')
  const { app, retries } = relistening({ retries: 1_000, delay: 2 })
  app.once('relisten', () => holder.close())
  closeAfter(t, app)
  await app.listen(path)
  t.true(retries.length >= 1)
})

test('an option that it does not have is refused when it is made', (t) => {
  const misspelt: object = { retires: 5 }
  const error = t.throws(() => relisten(misspelt), { code: 'ERR_CIO_OPTION' })
  t.regex(error.message, /^relisten: `retires`.*`retries`/)
})
