import test from 'ava'
import { Counter, Family, Histogram, quantile } from '../src/instruments.ts'
import { metrics } from '../src/metrics.ts'
import { SpaceSaving } from '../src/space-saving.ts'
import { clean, codeLabel } from '../src/text.ts'

test('a histogram counts a value in the bucket whose upper bound it does not exceed', (t) => {
  const histogram = new Histogram([1, 10])
  for (const value of [0.5, 1, 1.5, 10, 11]) histogram.record(value)
  t.deepEqual(histogram.counts, [2, 2, 1])
  t.is(histogram.sum, 24)
  t.is(histogram.count, 5)
})

test('a quantile is interpolated in its bucket, and only of what came since', (t) => {
  const histogram = new Histogram([1, 2, 4])
  t.is(quantile(histogram, 0.5), null)
  for (let one = 0; one < 10; one++) histogram.record(1.5)
  t.is(quantile(histogram, 0.5), 1.5)
  const before = [...histogram.counts]
  t.is(quantile(histogram, 0.5, before), null)
  for (let one = 0; one < 10; one++) histogram.record(3)
  t.is(quantile(histogram, 0.5, before), 3)
  histogram.record(100)
  t.is(quantile(histogram, 1), 4, 'above all bounds, the last of them')
})

test('a family has no more series than it may, and counts the rest in one', (t) => {
  const family = new Family(metrics.refused, 3, () => new Counter())
  const place = { key: 'server', attributes: {} }
  for (const name of ['a', 'b', 'c', 'd', 'a']) family.of(place, name, () => ({ name })).value += 1
  t.deepEqual(family.read().points, [
    { attributes: { name: 'a' }, value: 2 },
    { attributes: { name: 'b' }, value: 1 },
    { attributes: { 'otel.metric.overflow': true }, value: 2 },
  ])
})

test('Space-Saving keeps the heaviest of many keys, and says how wrong a weight may be', (t) => {
  const counted = new SpaceSaving<string>(20)
  const exact = new Map<string, number>()
  const add = (key: string, weight: number): void => {
    counted.add(key, weight, () => key)
    exact.set(key, (exact.get(key) ?? 0) + weight)
  }
  for (let round = 0; round < 2_000; round++) {
    add(`random ${(round * 7_919) % 1_999}`, 1)
    if (round % 2 === 0) add(`heavy ${round % 10}`, 1 + (round % 10))
  }
  t.is(counted.size, 20)
  const cells = counted.cells()
  for (let key = 0; key < 10; key += 2) {
    t.true(
      cells.some((cell) => cell.key === `heavy ${key}` && cell.value === `heavy ${key}`),
      `heavy ${key}`,
    )
  }
  for (const { key, weight, error } of cells) {
    const right = exact.get(key)!
    t.true(weight >= right && weight - error <= right, `${key}: ${weight} - ${error}, ${right}`)
  }
})

test('text from outside is cut, and its control characters are visible', (t) => {
  t.is(clean('a\u001B[31m\nb'), 'a\\u001b[31m\\u000ab')
  for (const hidden of ['\u202E', '\u061C', '\u00AD', '\u180E', '\uFFF9', '\u2028', '\u{E0041}']) {
    t.regex(clean(`a${hidden}b`), /^a(\\u[0-9a-f]{4})+b$/)
  }
  // Half of a pair, where it is cut.
  t.regex(clean('😀'.repeat(2), 2), /^\\ud83d…$/)
  t.is(clean('x'.repeat(400)).length, 300)
})

test('a label of an error is a code of programs, or _OTHER', (t) => {
  t.is(codeLabel('ERR_CIO_IDLE'), 'ERR_CIO_IDLE')
  for (const odd of ['', 'x', 'E"}', 'a message', 'E'.repeat(100)]) t.is(codeLabel(odd), '_OTHER')
})
