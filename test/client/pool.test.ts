import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import {
  type ClientContext,
  type ConnectOptions,
  Cio,
  CioError,
  allowList,
  json,
  lines,
  reconnect,
  rpc,
} from '../../src/index.ts'
import {
  Pool,
  type PoolOptions,
  type PoolTarget,
  type TargetResolver,
  type TargetSource,
  dnsTargets,
  srvTargets,
} from '../../src/pool.ts'
import type { Clock } from '../../src/client/pool/clock.ts'
import type { ConnectsClients } from '../../src/client/pool/pool-types.ts'
import { RetryBudget } from '../../src/kit.ts'
import { seeded } from '../../src/testing/random.ts'
import { identity, path } from '../support/certificates.ts'
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
  readonly refusals = new Map<number, Error>()
  readonly uses = new Map<number, number>()
  readonly #lose = new Map<number, Set<(error: Error) => void>>()

  connect({ port = 0 }: ConnectOptions): Promise<ClientContext & FakeClient> {
    const refusal = this.refusals.get(port)
    if (refusal) return Promise.reject(refusal)
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

test('a target whose weight is far above that of many others gets its share', async (t) => {
  const light = Array.from({ length: 20 }, (_, index) => ({ port: index + 2 }))
  const targets = [{ port: 1, weight: 100 }, ...light]
  const { pool, clock, servers } = await faked({ targets })
  await clock.advance(10_000)
  for (let done = 0; done < 2_000; done++) await pool.use((client) => client.work())
  const share = servers.uses.get(1)! / (2_000 * (100 / 120))
  t.true(share > 0.9 && share < 1.1, `${share} of its share`)
})

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

test('an error that no later attempt mends is passed on at once, while another target may still come', async (t) => {
  const [clock, servers] = [new FakeClock(), new FakeServers()]
  const wrong = new CioError('ERR_CIO_CERTIFICATE', 'the key cannot be read')
  const targets = [{ port: 1 }, { port: 2 }]
  servers.refusals.set(1, wrong)
  servers.kill(2)
  const pool = new Pool<FakeClient>(servers, { targets, waitTimeout: 100_000 }, clock)
  const timedOut = t.throwsAsync(pool.ready(), { code: 'ERR_CIO_POOL_TIMEOUT' })
  await clock.advance(100_000)
  await timedOut

  servers.refusals.set(2, wrong)
  const waiting = t.throwsAsync(
    pool.use((client) => client.work()),
    { is: wrong },
  )
  await clock.advance(40_000)
  await waiting
  await t.throwsAsync(pool.ready(), { is: wrong })
  await t.throwsAsync(
    pool.use((client) => client.work()),
    { is: wrong },
  )
  servers.refusals.clear()
  servers.state.clear()
  await clock.advance(40_000)
  await pool.use((client) => client.work())
})

test('a pool without the key of its certificate says so at once', async (t) => {
  const near = new Cio().useClient(lines())
  closeAfter(t, near)
  near.on('error', () => {})
  const pool = new Pool(near, {
    targets: [{ port: 1 }],
    connect: { ca: path('root.crt'), cert: path('alice.crt'), key: path('no.key') },
    waitTimeout: Infinity,
  })
  t.teardown(() => pool.close())
  await t.throwsAsync(pool.ready(), { code: 'ERR_CIO_CERTIFICATE' })
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

for (const secure of [false, true]) {
  test(`a use that has sent something is not tried again, unless it is idempotent${secure ? ', over TLS' : ''}`, async (t) => {
    const sent: string[] = []
    const app = new Cio().useConnection(lines()).useConnection((ctx) =>
      ctx.messages.each((line) => {
        sent.push(line)
        ctx.destroy()
      }),
    )
    const own = secure ? { ...identity('server'), host: 'localhost' } : {}
    const servers = [await serve(t, app, own), await serve(t, app, own)]
    const near = new Cio().useClient(lines())
    closeAfter(t, near)
    near.on('remoteError', () => {})
    const pool = new Pool(near, {
      targets: servers.map(({ port }) => ({ port })),
      connect: secure ? { ca: path('root.crt') } : {},
    })
    t.teardown(() => pool.close())
    for (const idempotent of [false, true]) {
      await pool.ready({ min: 2 })
      sent.length = 0
      const used = pool.use(
        async ({ messages, closed }) => {
          await messages.send('pay 1')
          await closed
          await messages.send('pay 2')
        },
        { idempotent },
      )
      await t.throwsAsync(used, { code: 'ERR_CIO_CLOSED' })
      t.is(sent.length, idempotent ? 2 : 1)
    }
  })
}

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

test('the signal of a call ends its wait for a connection', async (t) => {
  const pool = new Pool(clientApp(t), {
    targets: [{ host: '127.0.0.1', port: await ownPort() }],
    waitTimeout: Infinity,
  })
  t.teardown(() => pool.close())
  const stop = new AbortController()
  const call = pool.call('wait', [1], { signal: stop.signal })
  t.is(pool.waiting, 1)
  stop.abort(new Error('enough'))
  await t.throwsAsync(call, { message: 'enough' })
  t.is(pool.waiting, 0)
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

/** A source whose answers a test gives one after the other; the last one stays. */
function sourceOf(...answers: (PoolTarget[] | Error)[]): TargetSource & { asked: number } {
  return {
    asked: 0,
    resolve() {
      const answer = answers[Math.min(this.asked++, answers.length - 1)]!
      if (answer instanceof Error) return Promise.reject(answer)
      return Promise.resolve({ targets: answer, ttl: 1_000 })
    },
  }
}

const places = (pool: Pool<FakeClient>): string[] =>
  pool.targets.map(({ place }) => place.slice('localhost:'.length))

test('a source is asked again after its TTL: connections that stay are kept, new ones are opened', async (t) => {
  const targets = sourceOf([{ port: 1 }, { port: 2 }], [{ port: 2, weight: 3 }, { port: 3 }])
  const { pool, clock, servers } = await faked({ targets })
  const changes: string[][] = []
  pool.on('targets', (all) => changes.push(all.map(({ place }) => place)))
  t.deepEqual(places(pool), ['1', '2'])
  const clients = new Set<object>()
  const note = async (): Promise<void> => {
    await pool.use((client) => {
      if (client.port === 2) clients.add(client)
      return client.work()
    })
  }
  for (let count = 0; count < 50; count++) await note()
  await clock.advance(1_000)
  t.deepEqual(places(pool), ['2', '3'])
  await clock.advance(10_000)
  servers.uses.clear()
  for (let count = 0; count < 400; count++) await note()
  t.false(servers.uses.has(1))
  t.is(clients.size, 1, 'the connection of 2 was kept')
  const share = servers.uses.get(2)! / servers.uses.get(3)!
  t.true(share > 2 && share < 4, `${share}: its new weight`)
  t.true(targets.asked > 5)
  t.deepEqual(changes.at(-1), ['localhost:2', 'localhost:3'])
  t.is(changes.length, 1, 'the same targets again are no change')
  await pool.close()
  t.is(clock.timers, 0)
})

test('a source that fails, or finds nothing, leaves the targets as they are', async (t) => {
  const targets = sourceOf([{ port: 1 }], new Error('SERVFAIL'), [], [{ port: 2 }])
  const { pool, clock } = await faked({ targets })
  const errors: string[] = []
  pool.on('resolveError', ({ message }) => errors.push(message))
  while (errors.length < 2) {
    await clock.advance(500)
    if (targets.asked < 4) t.deepEqual(places(pool), ['1'])
  }
  t.is(errors[0], 'SERVFAIL')
  t.regex(errors[1]!, /found none/)
  while (targets.asked < 4) await clock.advance(500)
  t.deepEqual(places(pool), ['2'])
  await pool.close()
})

test('uses wait until a source has answered, and hear why it has not', async (t) => {
  const targets = sourceOf(new Error('queryA ESERVFAIL'), new Error('queryA ESERVFAIL'), [
    { port: 1 },
  ])
  const { pool, clock, servers } = await faked({ targets, waitTimeout: 10_000 })
  const used = pool.use((client) => client.work())
  await clock.advance(5_000)
  await used
  t.is(servers.uses.get(1), 1)
  await pool.close()

  const never = await faked({
    targets: sourceOf(new Error('queryA ESERVFAIL')),
    waitTimeout: 1_000,
  })
  const failing = t.throwsAsync(
    never.pool.use((client) => client.work()),
    {
      code: 'ERR_CIO_POOL_TIMEOUT',
      message: /queryA ESERVFAIL/,
    },
  )
  await never.clock.advance(1_000)
  await failing
  await never.pool.close()
  t.is(never.clock.timers, 0)
})

test('a target that is gone gets no new uses, and is closed after those under way', async (t) => {
  const targets = sourceOf([{ port: 1 }], [{ port: 2 }])
  const { pool, clock } = await faked({ targets })
  let resolve = (): void => {}
  const promise = new Promise<void>((done) => (resolve = done))
  let held: FakeClient & ClientContext
  const using = pool.use(async (client) => {
    held = client
    await promise
  })
  await turn()
  await clock.advance(1_000)
  t.deepEqual(places(pool), ['2'])
  t.false(held!.isClosed)
  await pool.use((client) => t.is(client.port, 2))
  resolve()
  await using
  await turn()
  t.true(held!.isClosed)

  // One that does not end is closed after half a minute.
  const stuck = await faked({ targets: sourceOf([{ port: 1 }], [{ port: 2 }]) })
  let client: FakeClient & ClientContext
  void stuck.pool.use((one) => {
    client = one
    return new Promise(() => {})
  })
  await turn()
  await stuck.clock.advance(30_000)
  t.false(client!.isClosed)
  await stuck.clock.advance(2_000)
  t.true(client!.isClosed)
})

test('targets with a higher priority number are used while no other is connected', async (t) => {
  const targets = [{ port: 1 }, { port: 2, priority: 10 }]
  const { pool, clock, servers } = await faked({ targets })
  const use = (): Promise<void> => pool.use((client) => client.work())
  for (let count = 0; count < 20; count++) await use()
  t.false(servers.uses.has(2))
  servers.kill(1)
  await turn()
  await use()
  t.is(servers.uses.get(2), 1)
  servers.state.set(1, 'up')
  await clock.advance(400_000)
  await use()
  t.is(servers.uses.get(2), 1)
})

/** A resolver of these records; what is missing has none. */
function resolverOf(records: Partial<Record<keyof TargetResolver, unknown>>): TargetResolver {
  const answer = (kind: keyof TargetResolver) => () => {
    const found = records[kind] ?? Object.assign(new Error('none'), { code: 'ENODATA' })
    return found instanceof Error ? Promise.reject(found) : Promise.resolve(found)
  }
  return {
    resolve4: answer('resolve4'),
    resolve6: answer('resolve6'),
    resolveSrv: answer('resolveSrv'),
  } as unknown as TargetResolver
}

const { signal } = new AbortController()

test('dnsTargets: all addresses, in their order, for the least TTL within its bounds', async (t) => {
  const records = {
    resolve4: [
      { address: '192.0.2.2', ttl: 60 },
      { address: '192.0.2.1', ttl: 90 },
    ],
    resolve6: [{ address: '2001:db8::1', ttl: 70 }],
  }
  const at = (address: string) => ({ host: address, port: 7000 })
  const found = await dnsTargets('gateway.test', 7000, { resolver: resolverOf(records) }).resolve(
    signal,
  )
  t.deepEqual(found, {
    targets: [at('192.0.2.1'), at('192.0.2.2'), at('2001:db8::1')],
    ttl: 60_000,
  })
  for (const [ttl, expected] of [
    [0, 5_000],
    [86_400, 300_000],
  ] as const) {
    const resolver = resolverOf({ resolve4: [{ address: '192.0.2.1', ttl }] })
    t.is((await dnsTargets('gateway.test', 7000, { resolver }).resolve(signal)).ttl, expected)
  }
  const many = Array.from({ length: 300 }, (_, n) => ({ address: `192.0.2.${n % 256}`, ttl: 1 }))
  const bounded = dnsTargets('x.test', 1, { resolver: resolverOf({ resolve4: many }) })
  t.is((await bounded.resolve(signal)).targets.length, 100)
})

test('dnsTargets: a family that fails is not one without addresses', async (t) => {
  const resolver = resolverOf({
    resolve4: [{ address: '192.0.2.1', ttl: 60 }],
    resolve6: Object.assign(new Error('queryAaaa ETIMEOUT'), { code: 'ETIMEOUT' }),
  })
  await t.throwsAsync(dnsTargets('gateway.test', 1, { resolver }).resolve(signal), {
    code: 'ETIMEOUT',
  })
})

test('srvTargets: by priority and weight, without the record that says there is no service', async (t) => {
  const resolver = resolverOf({
    resolveSrv: [
      { name: 'b.test', port: 2, priority: 20, weight: 0 },
      { name: 'a.test', port: 1, priority: 10, weight: 5 },
    ],
  })
  t.deepEqual(await srvTargets('_gw._tcp.test', { resolver, interval: 7_000 }).resolve(signal), {
    targets: [
      { host: 'a.test', port: 1, priority: 10, weight: 5 },
      { host: 'b.test', port: 2, priority: 20, weight: 1 },
    ],
    ttl: 7_000,
  })
  const none = resolverOf({ resolveSrv: [{ name: '', port: 0, priority: 0, weight: 0 }] })
  t.deepEqual((await srvTargets('_gw._tcp.test', { resolver: none }).resolve(signal)).targets, [])
})

test('a name of DNS without records is said to be one', async (t) => {
  const none = resolverOf({ resolve4: [], resolve6: [] })
  const pool = new Pool(new Cio(), {
    targets: dnsTargets('gateway.test', 1, { resolver: none }),
    waitTimeout: 20,
  })
  t.teardown(() => pool.close())
  const error = await t.throwsAsync(pool.ready(), { code: 'ERR_CIO_POOL_TIMEOUT' })
  t.regex(error.message, /the source of the targets of the pool found none/)
})

test('options of dnsTargets and srvTargets are checked', (t) => {
  const wrong = [
    () => dnsTargets('', 1),
    () => dnsTargets('a.test', 0),
    () => dnsTargets('a.test', 1, { minTtl: 0 }),
    () => dnsTargets('a.test', 1, { minTtl: 10_000, maxTtl: 5_000 }),
    () => dnsTargets('a.test', 1, { ttl: 1 } as object),
    () => srvTargets('a.test', { interval: 0 }),
    () => srvTargets('a.test', { maxTargets: 0 }),
  ]
  for (const make of wrong) t.throws(make, { code: 'ERR_CIO_OPTION' })
})

test('a pool of an SRV record calls real servers, and follows the record', async (t) => {
  const serving = new Cio()
    .useConnection(json())
    .useConnection(rpc<{}, { ping(): string }>({ methods: { ping: () => 'pong' } }))
  const [one, two] = [await serve(t, serving), await serve(t, serving)]
  const record = { port: one.port }
  const resolver = {
    ...resolverOf({}),
    resolveSrv: () => Promise.resolve([{ name: '127.0.0.1', ...record, priority: 0, weight: 0 }]),
  }
  const app = new Cio().useClient(json()).useClient(rpc<{ ping(): string }>())
  closeAfter(t, app)
  const pool = new Pool(app, { targets: srvTargets('_gw._tcp.test', { resolver, interval: 20 }) })
  t.teardown(() => pool.close())
  await pool.ready()
  t.is(await pool.call('ping'), 'pong')
  record.port = two.port
  await once(pool, 'targets')
  t.deepEqual(
    pool.targets.map(({ place }) => place),
    [`127.0.0.1:${two.port}`],
  )
  t.is(await pool.call('ping'), 'pong')
  t.is(two.connections.size, 1)
})

test('a use rejects at once where no target can give the identity that a list needs', async (t) => {
  const app = new Cio().useClient(allowList(['server']))
  const clock = new FakeClock()
  const pool = new Pool(app, { targets: [{ port: await ownPort() }] }, clock)
  t.teardown(() => pool.close())
  const wanted = { code: 'ERR_CIO_NO_IDENTITY' }
  await t.throwsAsync(
    pool.use(() => {}),
    wanted,
  )
  await t.throwsAsync(
    pool.use(() => {}),
    wanted,
  )
  await t.throwsAsync(pool.ready(), wanted)
})
