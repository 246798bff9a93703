import test from 'ava'
import { type Limiter, type SharedLimitOptions, sharedLimit } from '../src/index.ts'
import { limited } from './support/limited.ts'
import type { Teardown } from './support/nats-server.ts'

/** A limiter in one process, whose store can fail or hang. */
class Counter implements Limiter {
  readonly points = 2
  readonly duration = 1_000
  readonly #taken = new Map<string, number>()
  asked = 0
  state: 'up' | 'fails' | 'hangs' | 'throws' = 'up'

  consume(key: string): Promise<unknown> {
    this.asked += 1
    if (this.state === 'throws') throw new Error('not connected')
    if (this.state === 'fails') return Promise.reject(new Error('ECONNREFUSED'))
    if (this.state === 'hangs') return new Promise(() => {})
    const taken = (this.#taken.get(key) ?? 0) + 1
    this.#taken.set(key, taken)
    // As rate-limiter-flexible does: its result, which is no error.
    return taken > this.points ? Promise.reject({ msBeforeNext: 500 }) : Promise.resolve({})
  }
}

async function start(
  t: Teardown,
  options: Partial<SharedLimitOptions> & Pick<SharedLimitOptions, 'limiter'>,
) {
  const told: string[] = []
  const { app, visit } = await limited(t, { key: () => 'one', ...options })
  app.on('reject', (error) => told.push(error.code))
  app.on('error', (error) => told.push(error.message))
  app.on('sharedLimitDown', (error, name) => told.push(`down ${name} ${error.message}`))
  app.on('sharedLimitUp', (name) => told.push(`up ${name}`))
  return { visit, told }
}

test('connections over the rate of their key are rejected, and those without a key are not', async (t) => {
  const limiter = new Counter()
  const { visit, told } = await start(t, { limiter })
  t.deepEqual([await visit(), await visit(), await visit()], [true, true, false])
  t.deepEqual(told, ['ERR_CIO_REJECTED'])
  const free = await start(t, { limiter, key: () => null })
  t.true(await free.visit())
  t.is(limiter.asked, 3)
})

test('two instances that share a limiter share its rate', async (t) => {
  const limiter = new Counter()
  const [one, other] = [await start(t, { limiter }), await start(t, { limiter })]
  t.deepEqual([await one.visit(), await other.visit()], [true, true])
  t.deepEqual([await one.visit(), await other.visit()], [false, false])
})

for (const state of ['fails', 'throws', 'hangs'] as const) {
  test(`while the store ${state}, an instance counts by itself, says so once, and goes back`, async (t) => {
    const limiter = new Counter()
    limiter.state = state
    const { visit, told } = await start(t, { limiter, timeout: 20, retryInterval: 1e9 })
    t.deepEqual([await visit(), await visit(), await visit()], [true, true, false])
    t.is(limiter.asked, 1, 'a store that has failed is not asked by each connection')
    t.regex(told[0]!, /^down sharedLimit /)
    t.deepEqual(told.slice(1), ['ERR_CIO_REJECTED'])

    const eager = new Counter()
    eager.state = state
    const again = await start(t, { limiter: eager, timeout: 20, retryInterval: 0 })
    t.true(await again.visit())
    t.true(await again.visit())
    eager.state = 'up'
    t.true(await again.visit())
    t.is(again.told.at(-1), 'up sharedLimit')
    t.is(again.told.length, 2)
  })
}

test('the keys of the fallback are bounded', async (t) => {
  const limiter = new Counter()
  limiter.state = 'fails'
  let key = 'a'
  const { visit } = await start(t, { limiter, key: () => key, maxKeys: 1, retryInterval: 1e9 })
  t.deepEqual([await visit(), await visit(), await visit()], [true, true, false])
  key = 'b'
  t.true(await visit())
  key = 'a'
  t.true(await visit(), 'the least recently used was dropped')
})

test('a shared limit refuses options that are unknown or out of their range', (t) => {
  const limiter = new Counter()
  const key = (): string => 'k'
  for (const options of [
    {},
    { limiter },
    { key, limiter: {} },
    { key, limiter: { consume: async () => {} } },
    { key, limiter, timeout: -1 },
    { key, limiter, timeout: Infinity },
    { key, limiter, retryInterval: -1 },
    { key, limiter, maxKeys: 0 },
    { key, limiter, name: '' },
    { key, limiter, fallback: { count: 0, per: 1 } },
    { key, limiter, unknown: 1 },
  ]) {
    const make = (): unknown => sharedLimit(options as unknown as SharedLimitOptions)
    t.throws(make, { code: 'ERR_CIO_OPTION' })
  }
  const bare = { consume: async () => {} }
  t.notThrows(() => sharedLimit({ key, limiter: bare, fallback: { count: 1, per: 1_000 } }))
})
