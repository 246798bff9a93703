import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import {
  type ClientContext,
  type ConnectOptions,
  Cio,
  CioError,
  json,
  reconnect,
  rpc,
} from '../../src/index.ts'
import { Pool, type PoolOptions } from '../../src/pool.ts'
import type { Clock } from '../../src/client/pool/clock.ts'
import type { ConnectsClients } from '../../src/client/pool/pool-types.ts'
import { RetryBudget } from '../../src/kit.ts'
import { seeded } from '../../src/testing/random.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, serve } from '../support/serve.ts'

/** A clock that a test moves. */
class FakeClock implements Clock {
  readonly random: () => number
  #now = 0
  readonly #timers = new Set<{ readonly at: number; readonly call: () => void }>()

  constructor(seed = 1) {
    const random = seeded(seed)
    this.random = () => random()
  }

  now(): number {
    return this.#now
  }

  after(milliseconds: number, call: () => void): () => void {
    const timer = { at: this.#now + milliseconds, call }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  get timers(): number {
    return this.#timers.size
  }

  async advance(milliseconds: number): Promise<void> {
    const until = this.#now + milliseconds
    for (;;) {
      await turn()
      const due = [...this.#timers].filter(({ at }) => at <= until)
      const [next] = due.toSorted((a, b) => a.at - b.at)
      if (!next) break
      this.#timers.delete(next)
      this.#now = next.at
      next.call()
    }
    this.#now = until
    await turn()
  }
}

/** Lets everything happen that needs no time. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

interface FakeClient {
  readonly port: number
  work(): Promise<void>
}

/** Servers by port: one that is up, one that is down, and one that answers nothing in time. */
class FakeServers implements ConnectsClients<FakeClient> {
  readonly pipelines = { client: { names: [] } }
  readonly state = new Map<number, 'up' | 'down' | 'bad'>()
  readonly uses = new Map<number, number>()
  readonly #lose = new Map<number, Set<(error: Error) => void>>()

  connect({ port = 0 }: ConnectOptions): Promise<ClientContext & FakeClient> {
    if (this.state.get(port) === 'down') return Promise.reject(refused())
    const aborter = new AbortController()
    let close = (): void => {}
    const closed = new Promise<void>((resolve) => (close = resolve))
    const lost = new Set<(error: Error) => void>()
    const lose = (error: Error): void => {
      if (client.isClosed) return
      Object.assign(client, { connected: false, isClosed: true })
      aborter.abort(error)
      for (const one of lost) one(error)
      close()
      this.#of(port).delete(lose)
    }
    const client = {
      port,
      connected: true,
      isClosed: false,
      signal: aborter.signal,
      closed,
      close: () => {
        lose(new CioError('ERR_CIO_CLOSED', 'close() was called'))
        return Promise.resolve({ forced: 0 })
      },
      work: async () => {
        this.uses.set(port, (this.uses.get(port) ?? 0) + 1)
        await Promise.race([turn(), new Promise((_resolve, reject) => lost.add(reject))])
        if (this.state.get(port) === 'bad') throw new CioError('ERR_CIO_CALL_TIMEOUT', 'late')
      },
    }
    this.#of(port).add(lose)
    return Promise.resolve(client as unknown as ClientContext & FakeClient)
  }

  kill(port: number): void {
    this.state.set(port, 'down')
    for (const lose of this.#of(port))
      lose(Object.assign(new Error('reset'), { code: 'ECONNRESET', syscall: 'read' }))
  }

  #of(port: number): Set<(error: Error) => void> {
    const all = this.#lose.get(port) ?? new Set()
    this.#lose.set(port, all)
    return all
  }
}

function refused(): Error {
  return Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    syscall: 'connect',
  })
}

async function faked(
  options: Partial<PoolOptions> & { readonly targets: PoolOptions['targets'] },
  seed = 1,
): Promise<{ pool: Pool<FakeClient>; clock: FakeClock; servers: FakeServers }> {
  const [clock, servers] = [new FakeClock(seed), new FakeServers()]
  const pool = new Pool<FakeClient>(servers, options, clock)
  await turn()
  return { pool, clock, servers }
}

/** The state of the first target. */
const first = (pool: Pool<FakeClient>): string => pool.targets[0]!.state

const three = [{ port: 1 }, { port: 2, weight: 2 }, { port: 3, weight: 3 }]

for (const atOnce of [1, 30]) {
  test(`targets get their share of the uses, ${atOnce} at once`, async (t) => {
    const { pool, clock, servers } = await faked({ targets: three })
    await clock.advance(10_000)
    const count = 6_000
    for (let done = 0; done < count; done += atOnce) {
      await Promise.all(Array.from({ length: atOnce }, () => pool.use((client) => client.work())))
    }
    for (const { port, weight = 1 } of three) {
      const share = servers.uses.get(port)! / ((count * weight) / 6)
      t.true(share > 0.8 && share < 1.2, `${share} of its share`)
    }
  })
}

test('a target that fails is ejected, is not used, and comes back by one idempotent use', async (t) => {
  const { pool, clock, servers } = await faked({ targets: [{ port: 1 }, { port: 2 }] })
  const events: string[] = []
  pool.on('eject', ({ place }, duration) => events.push(`eject ${place} ${duration > 7_000}`))
  pool.on('restore', ({ place }) => events.push(`restore ${place}`))
  servers.state.set(1, 'bad')
  const use = (idempotent = false): Promise<void> =>
    pool.use((client) => client.work(), { idempotent }).catch(() => {})
  while (first(pool) === 'ready') await use()
  const used = servers.uses.get(1)
  t.is(used, 5)
  for (let count = 0; count < 50; count++) await use(true)
  t.is(servers.uses.get(1), used)

  servers.state.set(1, 'up')
  await clock.advance(10_000)
  t.is(first(pool), 'probing')
  await use()
  t.is(servers.uses.get(1), used, 'not by a use that may not be repeated')
  await use(true)
  t.is(servers.uses.get(1), used! + 1)
  t.is(first(pool), 'ready')
  await turn()
  t.deepEqual(events, ['eject localhost:1 true', 'restore localhost:1'])
})

test('a probe that fails ejects for longer, and without a use a connection decides', async (t) => {
  const { pool, clock, servers } = await faked({ targets: [{ port: 1 }, { port: 2 }] })
  const durations: number[] = []
  pool.on('eject', (_target, duration) => durations.push(duration))
  servers.kill(1)
  // The connection alone fails, again and again.
  await clock.advance(200_000)
  t.true(durations.length >= 3)
  for (const [index, duration] of durations.entries()) {
    const whole = Math.min(10_000 * 2 ** index, 300_000)
    t.true(duration <= whole && duration >= whole * 0.75)
  }
  servers.state.set(1, 'up')
  await clock.advance(400_000)
  t.is(first(pool), 'ready')
})

test('the last target is never ejected, and all that were bad come back', async (t) => {
  const { pool, clock, servers } = await faked({ targets: [{ port: 1 }, { port: 2 }] })
  servers.kill(1)
  servers.kill(2)
  for (let seconds = 0; seconds < 300; seconds++) {
    await clock.advance(1_000)
    t.true(pool.targets.some(({ state }) => state === 'ready'))
  }
  servers.state.set(1, 'up')
  servers.state.set(2, 'up')
  await clock.advance(400_000)
  t.deepEqual(
    pool.targets.map(({ state, connections }) => [state, connections]),
    [
      ['ready', 1],
      ['ready', 1],
    ],
  )
  await t.notThrowsAsync(pool.use((client) => client.work()))
})

test('when no other target is connected, an ejected one is better than none', async (t) => {
  const { pool, servers } = await faked({ targets: [{ port: 1 }, { port: 2 }] })
  servers.state.set(1, 'bad')
  while (first(pool) === 'ready') {
    await pool.use((client) => client.work()).catch(() => {})
  }
  servers.kill(2)
  await turn()
  servers.state.set(1, 'up')
  await t.notThrowsAsync(pool.use((client) => client.work()))
})

test('a new target grows to its share', async (t) => {
  const { pool, clock, servers } = await faked({ targets: [{ port: 1 }, { port: 2 }] })
  await clock.advance(10_000)
  servers.state.set(1, 'bad')
  while (first(pool) === 'ready') {
    await pool.use((client) => client.work()).catch(() => {})
  }
  servers.state.set(1, 'up')
  await clock.advance(10_000)
  await pool.use((client) => client.work(), { idempotent: true })
  t.is(first(pool), 'ready')
  servers.uses.clear()
  const use = async (): Promise<number> => {
    servers.uses.clear()
    for (let count = 0; count < 1_000; count++) await pool.use((client) => client.work())
    return servers.uses.get(1) ?? 0
  }
  const early = await use()
  await clock.advance(10_000)
  const late = await use()
  t.true(early > 30 && early < 200, `${early} of 1,000`)
  t.true(late > 400, `${late} of 1,000`)
})

test('uses beyond maxPending wait, first come first served, and are bounded', async (t) => {
  const { pool, clock } = await faked({
    targets: [{ port: 1 }],
    maxPending: 1,
    maxWaiting: 2,
    waitTimeout: 100,
  })
  let finish = (): void => {}
  const order: number[] = []
  const running = pool.use(() => new Promise<void>((resolve) => (finish = resolve)))
  await turn()
  const second = pool.use(() => void order.push(2))
  const third = pool.use(() => void order.push(3))
  t.is(pool.waiting, 2)
  await t.throwsAsync(
    pool.use(() => {}),
    { code: 'ERR_CIO_POOL_FULL' },
  )
  finish()
  await Promise.all([running, second, third])
  t.deepEqual(order, [2, 3])

  const held = pool.use(() => new Promise<void>((resolve) => (finish = resolve)))
  await turn()
  const late = pool.use(() => {})
  const aborter = new AbortController()
  const aborted = pool.use(() => {}, { signal: aborter.signal })
  aborter.abort(new Error('enough'))
  await t.throwsAsync(aborted, { message: 'enough' })
  const thrown = t.throwsAsync(late, { code: 'ERR_CIO_POOL_TIMEOUT', message: /maxPending/ })
  await clock.advance(100)
  await thrown
  finish()
  await held
  t.is(pool.waiting, 0)
})

test('without a connection, the error says why', async (t) => {
  const [clock, servers] = [new FakeClock(), new FakeServers()]
  servers.kill(1)
  const pool = new Pool<FakeClient>(servers, { targets: [{ port: 1 }], waitTimeout: 100 }, clock)
  const thrown = t.throwsAsync(
    pool.use((client) => client.work()),
    { code: 'ERR_CIO_POOL_TIMEOUT', message: /localhost:1: connect ECONNREFUSED/ },
  )
  const ready = t.throwsAsync(pool.ready(), { code: 'ERR_CIO_POOL_TIMEOUT' })
  await clock.advance(100)
  await Promise.all([thrown, ready])
})

test('a use is tried again, once, only if nothing was sent or it is idempotent', async (t) => {
  const { pool } = await faked({ targets: [{ port: 1 }, { port: 2 }] })
  const tries = async (error: Error, idempotent: boolean): Promise<number[]> => {
    const ports: number[] = []
    const work = (client: FakeClient): void => {
      ports.push(client.port)
      throw error
    }
    await t.throwsAsync(pool.use(work, { idempotent }), { is: error })
    return ports.toSorted((a, b) => a - b)
  }
  const unsent = new CioError('ERR_CIO_CLOSED', 'not sent', { fault: 'remote' })
  const unknown = new CioError('ERR_CIO_ANSWER_LOST', 'sent', { fault: 'remote' })
  const answered = new CioError('ERR_CIO_RPC', 'no', { fault: 'remote' })
  t.deepEqual(await tries(unsent, false), [1, 2])
  t.is((await tries(unknown, false)).length, 1)
  t.deepEqual(await tries(unknown, true), [1, 2])
  t.is((await tries(answered, true)).length, 1)
})

test('an empty budget allows no retry', async (t) => {
  const budget = new RetryBudget({ minPerSecond: 0, ratio: 0 })
  const { pool } = await faked({ targets: [{ port: 1 }, { port: 2 }], budget })
  let count = 0
  const work = (): void => {
    count += 1
    throw new CioError('ERR_CIO_CLOSED', 'not sent', { fault: 'remote' })
  }
  await t.throwsAsync(pool.use(work), { code: 'ERR_CIO_CLOSED' })
  t.is(count, 1)
  t.is(
    pool.targets.reduce((sum, { pending }) => sum + pending, 0),
    0,
  )
})

for (let seed = 1; seed <= 20; seed++) {
  test(`each use settles once, whatever happens to the targets (seed ${seed})`, async (t) => {
    const targets = [{ port: 1 }, { port: 2, weight: 2 }, { port: 3 }, { port: 4 }]
    const { pool, clock, servers } = await faked({ targets, connections: 2, maxPending: 3 }, seed)
    const random = seeded(seed)
    const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!
    let [begun, settled] = [0, 0]
    const wrong: string[] = []
    const use = (): void => {
      begun += 1
      const work = (client: FakeClient): Promise<void> => {
        const all = pool.targets
        const state = all[client.port - 1]!.state
        const others = all.some((one) => one.state === 'ready' && one.connections > 0)
        if (state === 'ejected' && others) wrong.push(`a use of the ejected ${client.port}`)
        return client.work()
      }
      const count = (): void => void (settled += 1)
      pool.use(work, { idempotent: random() < 0.5 }).then(count, count)
    }
    for (let step = 0; step < 400; step++) {
      const what = random()
      if (what < 0.6) use()
      else if (what < 0.65) servers.kill(pick(targets).port)
      else if (what < 0.72) servers.state.set(pick(targets).port, 'up')
      else if (what < 0.76) servers.state.set(pick(targets).port, 'bad')
      else if (what < 0.9) await turn()
      else await clock.advance(random() * 8_000)
      if (!pool.targets.some(({ state }) => state === 'ready')) wrong.push('all are ejected')
    }
    for (const { port } of targets) servers.state.set(port, 'up')
    await clock.advance(1_000_000)
    t.deepEqual(wrong, [])
    t.is(settled, begun)
    t.is(pool.waiting, 0)
    t.deepEqual(
      pool.targets.map(({ state, pending, connections }) => [state, pending, connections]),
      targets.map(() => ['ready', 0, 2]),
    )
    await pool.close()
    t.is(clock.timers, 0)
  })
}

// Over real connections

interface Echo {
  whoami(): number
  wait(params: [milliseconds: number]): string
}

function echoServer(): Cio {
  return new Cio().useConnection(json()).useConnection(
    rpc<{}, Echo>({
      methods: {
        whoami: () => process.pid,
        wait: ([milliseconds]) =>
          new Promise((resolve) => setTimeout(() => resolve('done'), milliseconds)),
      },
    }),
  )
}

function clientApp(t: ExecutionContext) {
  const app = new Cio().useClient(json()).useClient(rpc<Echo>())
  closeAfter(t, app)
  return app
}

test('calls go to all targets, and on to those that are left', async (t) => {
  const [one, two] = [await serve(t, echoServer()), await serve(t, echoServer())]
  const targets = [one, two].map(({ port }) => ({ host: '127.0.0.1', port }))
  const pool = new Pool(clientApp(t), { targets, connections: 2 })
  t.teardown(() => pool.close())
  await pool.ready({ min: 4 })
  t.deepEqual(
    pool.targets.map(({ connections }) => connections),
    [2, 2],
  )
  const result: number = await pool.call('whoami')
  t.is(result, process.pid)

  await one.close({ timeout: 0 })
  for (let count = 0; count < 50; count++) {
    t.is(await pool.use((client) => client.rpc.call('whoami'), { idempotent: true }), process.pid)
  }
})

test('the pool connects again when a target comes back', async (t) => {
  const port = await ownPort()
  const pool = new Pool(clientApp(t), {
    targets: [{ host: '127.0.0.1', port }],
    waitTimeout: 60_000,
  })
  t.teardown(() => pool.close())
  const call = pool.call('whoami')
  const server = await serve(t, echoServer(), { port })
  t.is(await call, process.pid)
  await server.close()
  await serve(t, echoServer(), { port })
  t.is(await pool.call('whoami'), process.pid)
})

test('close() waits for the uses under way, and refuses new ones', async (t) => {
  const server = await serve(t, echoServer())
  const pool = new Pool(clientApp(t), { targets: [{ host: '127.0.0.1', port: server.port }] })
  await pool.ready()
  const call = pool.call('wait', [100])
  const closed = pool.close()
  await t.throwsAsync(pool.call('whoami'), { code: 'ERR_CIO_CLOSED' })
  t.is(await call, 'done')
  await closed
  t.deepEqual(
    pool.targets.map(({ connections }) => connections),
    [0],
  )
})

test('close({ timeout }) destroys what is left', async (t) => {
  const server = await serve(t, echoServer())
  const pool = new Pool(clientApp(t), { targets: [{ host: '127.0.0.1', port: server.port }] })
  await pool.ready()
  const lost = t.throwsAsync(pool.call('wait', [2 ** 30]), { code: 'ERR_CIO_ANSWER_LOST' })
  await pool.close({ timeout: 10 })
  await lost
})

test('the signal of the work aborts with the connection', async (t) => {
  const server = await serve(t, echoServer())
  const pool = new Pool(clientApp(t), { targets: [{ host: '127.0.0.1', port: server.port }] })
  t.teardown(() => pool.close())
  const lost = pool.use((_client, signal) => once(signal, 'abort'))
  await pool.ready()
  await server.close({ timeout: 0 })
  await t.notThrowsAsync(lost)
})

test('options out of their range are refused, and an app with reconnect', (t) => {
  const app = new Cio()
  const wrong: object[] = [
    { targets: [] },
    { targets: [{ port: 1, weight: 0 }] },
    { connections: 0 },
    { connections: Infinity },
    { maxPending: 0 },
    { maxWaiting: -1 },
    { waitTimeout: -1 },
    { slowStartDuration: Infinity },
    { eject: { failures: 0 } },
    { eject: { maxShare: 2 } },
    { eject: { maxDuration: 1 } },
    { tragets: [] },
  ]
  for (const options of wrong) {
    t.throws(() => new Pool(app, { targets: [{ port: 1 }], ...options }), {
      code: 'ERR_CIO_OPTION',
    })
  }
  const again = new Cio().useClient(reconnect())
  t.throws(() => new Pool(again, { targets: [{ port: 1 }] }), {
    code: 'ERR_CIO_OPTION',
    message: /leave `reconnect` out/,
  })
})

test('`call` is that of `requests` where the app has them', async (t) => {
  const server = await serve(t, echoServer())
  const app = new Cio().useClient<{ requests: { call(what: string): Promise<string> } }>(
    async function requests(ctx, next) {
      Object.assign(ctx, { requests: { call: (what: string) => Promise.resolve(`did ${what}`) } })
      await next()
    },
  )
  closeAfter(t, app)
  const pool = new Pool(app, { targets: [{ host: '127.0.0.1', port: server.port }] })
  t.teardown(() => pool.close())
  t.is(await pool.call('this'), 'did this')
})

test('`call` without rpc or requests says what is missing', async (t) => {
  const server = await serve(t, echoServer())
  const app = new Cio()
  closeAfter(t, app)
  const pool = new Pool(app, { targets: [{ host: '127.0.0.1', port: server.port }] })
  t.teardown(() => pool.close())
  const call = pool.call as unknown as (method: string) => Promise<unknown>
  await t.throwsAsync(call('whoami'), { message: /needs `rpc` or `requests`/ })
})
