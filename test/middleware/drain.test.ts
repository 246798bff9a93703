import test, { type ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Cio, type DrainOptions, drain, lines } from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { wordsOf } from '../support/typescript.ts'

// The test process must not end; real signals are in test/cases/signal-during-drain.test.ts.
const stay = { exitTimeout: Infinity }
const send = (signal: NodeJS.Signals): boolean => process.emit(signal, signal)

test('all servers share one listener for each signal, until the last has closed', async (t) => {
  const signal = 'SIGUSR2'
  const app = new Cio().useServer(drain({ ...stay, signals: [signal] }))
  const before = process.listenerCount(signal)
  const [first, second] = [await serve(t, app), await serve(t, app)]
  t.is(process.listenerCount(signal), before + 1)
  await first.close()
  t.is(process.listenerCount(signal), before + 1)
  await second.close()
  t.is(process.listenerCount(signal), before)
})

test('one signal drains all servers, and each emits an event', async (t) => {
  const signal = 'SIGXCPU'
  const app = new Cio().useServer(drain({ ...stay, signals: [signal] }))
  const servers = [await serve(t, app), await serve(t, app)]
  const told: unknown[] = []
  app.on('drain', (one, server) => told.push(one, servers.indexOf(server)))
  app.on('drained', ({ forced, duration }) => t.true(forced === 0 && duration >= 0))
  send(signal)
  await Promise.all(servers.map(({ closed }) => closed))
  t.deepEqual(told, [{ signal, forced: false }, 0, { signal, forced: false }, 1])
  t.plan(3)
})

test('outer middleware, and the signals, wait for its server as for any other', async (t) => {
  const signal = 'SIGXFSZ'
  const order: string[] = []
  const app = new Cio()
    .useServer(async function outside(_ctx, next) {
      await next()
      order.push('outside')
      t.is(process.listenerCount(signal), 1, 'a second signal would still be heard')
    })
    .useServer(drain({ ...stay, signals: [signal] }))
    .useServer(async function inside(_ctx, next) {
      await next()
      order.push('inside')
    })
    .useConnection(async (ctx) => {
      for await (const chunk of ctx) ctx.stream.write(chunk)
      order.push('connection')
    })
  const server = await serve(t, app)
  const client = await dial(t, server)
  const drained = once(app, 'drained')
  send(signal)
  await new Promise((resolve) => server.draining.addEventListener('abort', resolve))
  client.end('last')
  t.is(await readAll(client), 'last')
  await drained
  t.deepEqual(order, ['connection', 'inside', 'outside'])
})

test('a middleware sends its last message before the codec has ended its loop', async (t) => {
  const signal = 'SIGPROF'
  const app = new Cio()
    .useServer(drain({ ...stay, signals: [signal] }))
    .useConnection(lines())
    .useConnection(async function goodbye(ctx, next) {
      const say = (): void => void (ctx.isClosed || ctx.messages.send('421 closing'))
      ctx.draining.addEventListener('abort', say)
      await next()
    })
    .useConnection(async (ctx) => {
      for await (const line of ctx.messages) await ctx.messages.send(line)
    })
  const server = await serve(t, app)
  const client = await dial(t, server)
  client.write('hello\n')
  t.is(String((await once(client, 'data'))[0]), 'hello\n')
  const drained = once(app, 'drained')
  send(signal)
  t.is(await readAll(client), '421 closing\n')
  // Node 24 leaves it half-open after a loop over its input.
  client.end()
  await drained
})

test('a signal before the server listens ends the run', async (t) => {
  const signal = 'SIGVTALRM'
  const app = new Cio().useServer(drain({ ...stay, signals: [signal] })).useServer(async (ctx) => {
    send(signal)
    await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
  })
  await t.throwsAsync(serve(t, app), { code: 'ERR_CIO_CLOSED' })
  await app.close()
  t.is(process.listenerCount(signal), 0)
})

test('options out of their range are rejected when it is created', (t) => {
  const wrong: object[] = [
    { timeout: -1 },
    { spread: Infinity },
    { timeout: 1_000, spread: 1_001 },
    { timeout: 1_000, minLifetime: 1_001 },
    { minLifetime: Infinity },
    { exitTimeout: '5' },
    { delay: Infinity },
    { delay: -1 },
    { keepChannel: 'yes' },
    { signals: [] },
    { signals: 'SIGTERM' },
    { signals: ['SIGKILL'] },
    { signals: ['SIGTREM'] },
    { singals: ['SIGTERM'] },
  ]
  for (const options of wrong) t.throws(() => drain(options), { code: 'ERR_CIO_OPTION' })
  t.throws(() => drain({ spread: 20_000 }), { message: /`spread`.*20000/ })
})

// In a worker of a cluster

/** Runs a primary and its worker; returns the lines that they print. */
function inCluster(t: ExecutionContext, options: DrainOptions): () => Promise<Line> {
  const program = wordsOf(new URL('../fixtures/cluster-drain.ts', import.meta.url))
  const child = spawn(process.execPath, [...program, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => child.kill('SIGUSR2'))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return async () => JSON.parse((await lines.next()).value as string) as Line
}

interface Line {
  readonly event: string
  readonly pid?: number
  readonly code?: number
  readonly signal?: string | null
}

test('a worker of a cluster ends when its last server has closed, without an error', async (t) => {
  const line = inCluster(t, {})
  const listening = await line()
  process.kill(listening.pid!, 'SIGTERM')
  t.like(await line(), { event: 'drained' })
  t.deepEqual(await line(), { event: 'exit', code: 0, signal: null })
})

test('a worker with keepChannel stays alive, and receives messages', async (t) => {
  const line = inCluster(t, { keepChannel: true, exitTimeout: 100 })
  const listening = await line()
  process.kill(listening.pid!, 'SIGTERM')
  t.like(await line(), { event: 'drained' })
  // It ended only because it was asked to.
  t.like(await line(), { event: 'error' })
  t.like(await line(), { event: 'exit' })
})

test('with a delay the server accepts after the signal, until a second signal ends the delay', async (t) => {
  const app = new Cio()
    .useServer(drain({ ...stay, signals: ['SIGURG', 'SIGIO'], delay: 60_000 }))
    .useConnection((ctx) => void ctx.stream.end('hello'))
  const server = await serve(t, app)
  const signalled = once(app, 'drain')
  const drained = once(app, 'drained')
  send('SIGURG')
  await signalled
  t.false(server.isDraining)
  const closed = once(app, 'close')
  const client = await dial(t, server)
  t.is(await readAll(client), 'hello')
  client.end()
  await closed
  // Another signal, because the same one would be ignored as a duplicate.
  send('SIGIO')
  t.like((await drained)[0], { forced: 0 })
  t.is(server.address, null)
})

test('the server stops by itself after the delay', async (t) => {
  const signal = 'SIGWINCH'
  const app = new Cio().useServer(drain({ ...stay, signals: [signal], delay: 100 }))
  const server = await serve(t, app)
  const drained = once(app, 'drained')
  send(signal)
  const [{ duration }] = (await drained) as [{ duration: number }]
  // Timers of Node count whole milliseconds, and may be up to one early.
  t.true(duration > 99, `${duration} ms`)
  t.is(server.address, null)
})
