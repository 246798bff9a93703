import test from 'ava'
import fc from 'fast-check'
import { TokenBucket, checkRate } from '../../src/kit.ts'

test('a bucket holds as many tokens as its count, and no more', (t) => {
  const bucket = new TokenBucket({ count: 3, per: 300 })
  const taken = Array.from({ length: 5 }, () => bucket.take(1_000))
  t.deepEqual(taken, [true, true, true, false, false])
})

test('a token comes back after its share of the time', (t) => {
  const bucket = new TokenBucket({ count: 3, per: 300 })
  for (let taken = 0; taken < 3; taken++) bucket.take(1_000)
  t.is(bucket.delay(1_000), 100)
  t.false(bucket.take(1_099))
  t.true(bucket.take(1_100))
  t.false(bucket.take(1_100))
})

test('a bucket that nobody takes from for its time is full again', (t) => {
  const bucket = new TokenBucket({ count: 2, per: 100 })
  t.true(bucket.isFull(0))
  bucket.take(0)
  bucket.take(0)
  t.false(bucket.isFull(99))
  t.true(bucket.isFull(100))
})

test('an infinite count has no bound', (t) => {
  const bucket = new TokenBucket({ count: Infinity, per: 1 })
  for (let taken = 0; taken < 1_000; taken++) t.true(bucket.take(5))
  t.is(bucket.delay(5), 0)
})

test('a hundred tokens of a hundredth each are a hundred', (t) => {
  const bucket = new TokenBucket({ count: 100, per: 1 })
  let taken = 0
  while (bucket.take(123_456.789)) taken++
  t.is(taken, 100)
})

test('in no stretch of time more is taken than the count and what has come back', (t) => {
  const rate = { count: fc.integer({ min: 1, max: 20 }), per: fc.integer({ min: 1, max: 1_000 }) }
  const gaps = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 200 })
  const holds = fc.property(fc.record(rate), gaps, ({ count, per }, steps) => {
    const bucket = new TokenBucket({ count, per })
    const times: number[] = []
    let now = 0
    for (const step of steps) {
      now += step
      if (bucket.take(now)) times.push(now)
    }
    return times.every((from, first) =>
      times
        .slice(first)
        .every((to, more) => more + 1 <= count + ((to - from) * count) / per + 1e-6),
    )
  })
  t.notThrows(() => fc.assert(holds, { seed: 1, numRuns: 200 }))
})

for (const [title, rate] of [
  ['no tokens', { count: 0, per: 1_000 }],
  ['half a token', { count: 0.5, per: 1_000 }],
  ['no time', { count: 1, per: 0 }],
  ['an endless time', { count: 1, per: Infinity }],
  ['nothing', null],
  ['a bare number', 10],
] as const) {
  test(`a rate of ${title} is refused`, (t) => {
    t.throws(() => checkRate('limit', 'rate', rate as never), { code: 'ERR_CIO_OPTION' })
  })
}
