import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import {
  chownSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { type Server, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { Cio, type Relisten, type RelistenOptions, relisten } from '../../src/index.ts'
import { retryContract } from '../contracts/retry.ts'
import { ownPort } from '../support/ports.ts'
import { Program } from '../support/program.ts'
import { many } from '../support/long.ts'
import { closeAfter, dial, listenBare, readAll, serve } from '../support/serve.ts'
import { socketPath } from '../support/transports.ts'

/** A port that a Node server listens on, and that server. */
async function occupied(t: ExecutionContext): Promise<{ port: number; holder: Server }> {
  const holder = createServer()
  return { port: await listenBare(t, holder, await ownPort()), holder }
}

/** An app that relistens, and the retries that it emits. */
function relistening(options: RelistenOptions): { app: Cio; retries: Relisten[] } {
  const app = new Cio().useServer(relisten(options)).useConnection(async (ctx) => {
    ctx.stream.end('hello')
  })
  const retries: Relisten[] = []
  app.on('relisten', (retry) => retries.push(retry))
  return { app, retries }
}

/** A delay longer than the test: it has to be aborted. */
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

test('it listens on an address in use when the address becomes free', async (t) => {
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

test('a server that had to retry serves like any other', async (t) => {
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

test('every retry is emitted, with its number, delay and error, and the server', async (t) => {
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

test("it gives up with Node's original error", async (t) => {
  const { port } = await occupied(t)
  const { app, retries } = relistening({ retries: 2, delay: 1 })
  const error = await t.throwsAsync<NodeJS.ErrnoException>(serve(t, app, { port }), {
    code: 'EADDRINUSE',
  })
  t.is(error.syscall, 'listen')
  t.not(error, retries.at(-1)!.error)
})

test('no retries means one attempt', async (t) => {
  const { port } = await occupied(t)
  const { app, retries } = relistening({ retries: 0 })
  await t.throwsAsync(serve(t, app, { port }), { code: 'EADDRINUSE' })
  t.deepEqual(retries, [])
})

test('it listens on a free address at once', async (t) => {
  const { app, retries } = relistening(forever)
  await serve(t, app)
  t.deepEqual(retries, [])
})

test('an error of another kind is not retried', async (t) => {
  const { app, retries } = relistening(forever)
  closeAfter(t, app)
  // Node's error for a missing directory.
  await t.throwsAsync(app.listen(join(tmpdir(), 'cio-none', 'socket')), { code: 'EACCES' })
  t.deepEqual(retries, [])
})

test('it listens on an address that is not available yet when it becomes available (openwrt/uhttpd#29)', async (t) => {
  // TEST-NET-1: not an address of this machine.
  const missing = { host: '192.0.2.1' }
  const { app, retries } = relistening({ retries: 3, delay: 1 })
  app.useServer(
    (ctx, next) => {
      ctx.options = { ...ctx.options, host: retries.length < 2 ? missing.host : '127.0.0.1' }
      return next()
    },
    { name: 'boot', after: 'relisten', before: 'listen' },
  )
  const server = await serve(t, app, missing)
  t.is(await readAll(await dial(t, server)), 'hello')
  t.deepEqual(
    retries.map(({ error }) => (error as NodeJS.ErrnoException).code),
    ['EADDRNOTAVAIL', 'EADDRNOTAVAIL'],
  )
  const other = relistening({ retries: 1, delay: 1 })
  await t.throwsAsync(serve(t, other.app, missing), { code: 'EADDRNOTAVAIL' })
  t.is(other.retries.length, 1)
})

/** The file of a Unix socket whose server was killed. */
async function stale(t: ExecutionContext): Promise<string> {
  const path = socketPath(t)
  const listening = `require('net').createServer().listen(process.argv[1], () => console.log(1))`
  const child = spawn(process.execPath, ['-e', listening, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.true(lstatSync(path).isSocket())
  return path
}

test('the socket file of a killed server is taken over (nodejs/help#2888)', async (t) => {
  const path = await stale(t)
  const { app, retries } = relistening({ retries: 1, delay: 2 ** 30, maxDelay: Infinity })
  closeAfter(t, app)
  await app.listen(path)
  t.deepEqual(
    retries.map(({ delay }) => delay),
    [0],
  )
  const client = connect(path)
  t.is(await readAll(client), 'hello')
  t.deepEqual(readdirSync(dirname(path)), [basename(path)])
})

test('without a retry left, it removes nothing', async (t) => {
  const path = await stale(t)
  const { app } = relistening({ retries: 0 })
  await t.throwsAsync(app.listen(path), { code: 'EADDRINUSE' })
  t.true(existsSync(path))
})

for (const [what, make] of [
  ['a link to a socket that was left', (path: string, left: string) => symlinkSync(left, path)],
  ['a socket that was left with two names', (path: string, left: string) => linkSync(left, path)],
  ['a file', (path: string) => writeFileSync(path, 'precious')],
  ['a directory', (path: string) => mkdirSync(path)],
  ['a link to a file', (path: string, left: string) => symlinkSync(`${left}.none`, path)],
  [
    'a socket of another user',
    (path: string, left: string) => {
      renameSync(left, path)
      chownSync(path, 12_345, 12_345)
    },
  ],
] as const) {
  const isOthers = what.endsWith('another user') && process.geteuid?.() !== 0
  const run = isOthers ? test.skip : test
  run(`${what} is not removed`, async (t) => {
    const left = await stale(t)
    const path = socketPath(t)
    make(path, left)
    const before = lstatSync(path)
    const { app, retries } = relistening({ retries: 2, delay: 1 })
    await t.throwsAsync(app.listen(path), { code: 'EADDRINUSE' })
    t.is(retries.length, 2)
    t.is(lstatSync(path).ino, before.ino)
  })
}

test('the socket of a running server, however busy, is not removed', async (t) => {
  const path = socketPath(t)
  const holder = createServer().listen({ path, backlog: 1 })
  t.teardown(() => holder.close())
  await once(holder, 'listening')
  const { app } = relistening({ retries: 3, delay: 1 })
  await t.throwsAsync(app.listen(path), { code: 'EADDRINUSE' })
  t.true(existsSync(path))
})

test('of several instances that start at once over a stale socket, one listens, and is reachable', async (t) => {
  for (let round = 0; round < many(3, 1); round++) {
    const path = await stale(t)
    const instances = Array.from(
      { length: 3 },
      () => new Program(t, 'relisten-server.ts', { path }),
    )
    // The one that listens stays until the others have given up, however late they began.
    await Promise.all(instances.map((one) => one.untilAny()))
    for (const one of instances) one.kill('SIGUSR2')
    const all = await Promise.all(instances.map((one) => one.ended.then(({ lines }) => lines)))
    const events = all.map((lines) => lines.map(({ event }) => event).join())
    t.deepEqual(events.toSorted(), ['EADDRINUSE', 'EADDRINUSE', 'listening,reached,reached'])
  }
})

test('an error of a middleware that looks like a listen error is not retried', async (t) => {
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

test('an error after listening has begun is not retried', async (t) => {
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

test('a signal that aborts during the delay ends it at once', async (t) => {
  const { port } = await occupied(t)
  const { app } = relistening(forever)
  const controller = new AbortController()
  const reason = new Error('enough')
  app.once('relisten', () => controller.abort(reason))
  const error = await t.throwsAsync(serve(t, app, { port, signal: controller.signal }))
  t.is(error, reason)
})

test('a signal that aborts in the middle of the delay ends it at once', async (t) => {
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

test('closing the app during the delay ends it at once', async (t) => {
  const { port } = await occupied(t)
  const { app } = relistening(forever)
  const waiting = once(app, 'relisten')
  const listening = serve(t, app, { port })
  const refused = t.throwsAsync(listening, { code: 'ERR_CIO_CLOSED' })
  await waiting
  t.deepEqual(await app.close(), { forced: 0 })
  await refused
})

test('one app relistens on several addresses at once', async (t) => {
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

test('middleware outside it runs once, and only listening runs again', async (t) => {
  const { port, holder } = await occupied(t)
  const { app } = relistening({ retries: 1_000, delay: 2 })
  app.on('relisten', ({ retry }) => {
    if (retry === 3) holder.close()
  })
  let runs = 0
  // Registered after it, and still outside.
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

test('an unknown option is refused when it is made', (t) => {
  const misspelt: object = { retires: 5 }
  const error = t.throws(() => relisten(misspelt), { code: 'ERR_CIO_OPTION' })
  t.regex(error.message, /^relisten: `retires`.*`retries`/)
})
