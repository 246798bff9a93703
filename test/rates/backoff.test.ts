import test from 'ava'
import { assert, constantFrom, double, integer, property, record } from 'fast-check'
import { getEventListeners } from 'node:events'
import { Backoff, sleep } from '../../src/rates/backoff.ts'
import { maxTimerDelay } from '../../src/options.ts'

const runs = { seed: 2_016 }

test('the defaults are three retries, three seconds each', (t) => {
  const backoff = new Backoff('test')
  t.is(backoff.retries, 3)
  t.deepEqual(
    [1, 2, 3].map((retry) => backoff.delay(retry)),
    [3_000, 3_000, 3_000],
  )
})

test('each delay is the last one multiplied by the factor, up to the longest', (t) => {
  const backoff = new Backoff('test', { delay: 100, factor: 2, maxDelay: 500 })
  t.deepEqual(
    [1, 2, 3, 4, 5].map((retry) => backoff.delay(retry)),
    [100, 200, 400, 500, 500],
  )
})

test('a delay is within its jitter, and one that a timer keeps', (t) => {
  const options = record({
    delay: constantFrom(0, 1, 3_000, maxTimerDelay, Infinity),
    factor: constantFrom(1, 1.5, 2, 1e300),
    maxDelay: constantFrom(0, 10, 60_000, Infinity),
    jitter: double({ min: 0, max: 1, noNaN: true }),
  })
  assert(
    property(options, integer({ min: 1, max: 10_000 }), (given, retry) => {
      const whole = new Backoff('test', { ...given, jitter: 0 }).delay(retry)
      const spread = new Backoff('test', given).delay(retry)
      const longest = Math.min(given.maxDelay, maxTimerDelay)
      return (
        whole >= 0 && whole <= longest && spread <= whole && spread >= whole * (1 - given.jitter)
      )
    }),
    runs,
  )
  t.pass()
})

test('full jitter spreads the delays from nothing to the whole', (t) => {
  const backoff = new Backoff('test', { delay: 1_000, jitter: 1 })
  const delays = Array.from({ length: 1_000 }, () => backoff.delay(1))
  // One in 10^45 times they all miss the first or the last tenth.
  t.true(Math.min(...delays) < 100)
  t.true(Math.max(...delays) > 900)
})

test('without jitter nothing is left to chance', (t) => {
  const backoff = new Backoff('test', { delay: 1_000 })
  t.is(new Set(Array.from({ length: 100 }, () => backoff.delay(1))).size, 1)
})

const wrong: [string, object][] = [
  ['retries', { retries: -1 }],
  ['retries', { retries: 1.5 }],
  ['retries', { retries: '3' }],
  ['delay', { delay: -1 }],
  ['delay', { delay: Number.NaN }],
  ['maxDelay', { maxDelay: 2 ** 31 }],
  ['factor', { factor: 0.9 }],
  ['factor', { factor: Infinity }],
  ['factor', { factor: '2' }],
  ['jitter', { jitter: -0.1 }],
  ['jitter', { jitter: 1.1 }],
  ['jitter', { jitter: '1' }],
  ['retires', { retires: 1 }],
]
for (const [option, options] of wrong) {
  const given = Object.values(options).map((value) => `${typeof value} ${String(value)}`)
  test(`${option} of ${given.join()} is refused, and named`, (t) => {
    const error = t.throws(() => new Backoff('owner', options), { code: 'ERR_CIO_OPTION' })
    t.true(error.message.startsWith('owner: '))
    t.true(error.message.includes(`\`${option}\``))
  })
}

test('infinite retries are allowed', (t) => {
  t.is(new Backoff('test', { retries: Infinity }).retries, Infinity)
})

test('a pause fulfils when its time has passed, and leaves no listener', async (t) => {
  const { signal } = new AbortController()
  const start = performance.now()
  await sleep(20, signal)
  // A timer may be a millisecond early.
  t.true(performance.now() - start >= 18)
  t.is(getEventListeners(signal, 'abort').length, 0)
})

test('a pause rejects with the reason of the signal, before it and while it lasts', async (t) => {
  const reason = new Error('enough')
  t.is(await t.throwsAsync(sleep(maxTimerDelay, AbortSignal.abort(reason))), reason)

  const controller = new AbortController()
  const pausing = sleep(maxTimerDelay, controller.signal)
  controller.abort(reason)
  t.is(await t.throwsAsync(pausing), reason)
})

test('an infinite pause ends by its signal alone', async (t) => {
  const controller = new AbortController()
  let ended = false
  const pausing = sleep(Infinity, controller.signal).finally(() => (ended = true))
  // Node fires a timer that is too long after 1 ms.
  await sleep(20, new AbortController().signal)
  t.false(ended)
  controller.abort(new Error('enough'))
  await t.throwsAsync(pausing, { message: 'enough' })
})
