/** Counters and histograms: series by attributes, and no more of them than `maxSeries`. */

export type Attributes = Readonly<Record<string, string | number | boolean>>

/** The kinds of metrics: OpenTelemetry's instruments. */
export type Kind = 'counter' | 'updown' | 'gauge' | 'histogram'

/** The definition of a metric. */
export interface Metric {
  readonly name: string
  readonly kind: Kind
  /** In UCUM, as OpenTelemetry has it. */
  readonly unit: string
  readonly help: string
  /** The upper bounds of a histogram's buckets. */
  readonly buckets?: readonly number[]
}

/** One series of a metric, for reading. */
export interface Point {
  readonly attributes: Attributes
  readonly value: number | Histogram
}

/** A metric with its series. */
export interface Reading {
  readonly metric: Metric
  readonly points: readonly Point[]
}

/** A sum that only grows. */
export class Counter {
  value = 0
}

/** How many values fell into each bucket. */
export class Histogram {
  readonly bounds: readonly number[]
  /** One more than there are bounds: the last bucket is for values above all bounds. */
  readonly counts: number[]
  sum = 0
  count = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  record(value: number): void {
    let bucket = 0
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket += 1
    this.counts[bucket]! += 1
    this.sum += value
    this.count += 1
  }
}

/** The attributes of the series that collects the rest when there are too many. */
const overflow: Attributes = { 'otel.metric.overflow': true }

/** The series of one metric. */
export class Family<Value extends Counter | Histogram> {
  readonly metric: Metric
  readonly #make: () => Value
  readonly #most: number
  readonly #series = new Map<string, { readonly attributes: Attributes; readonly value: Value }>()

  readonly #words = new WeakMap<object, Map<string, Value>>()

  constructor(metric: Metric, most: number, make: () => Value) {
    this.metric = metric
    this.#most = most
    this.#make = make
  }

  /** The series of a key. The attributes are computed only for a new series. */
  at(key: string, attributes: () => Attributes): Value {
    const known = this.#series.get(key)
    if (known) return known.value
    // The last place is reserved for the rest.
    if (this.#series.size >= this.#most - 1 && key !== '') return this.at('', () => overflow)
    const value = this.#make()
    this.#series.set(key, { attributes: attributes(), value })
    return value
  }

  /**
   * The series of a place and a word, found without building a key, which would take longer than
   * counting.
   */
  of(
    place: { readonly key: string; readonly attributes: Attributes },
    word: string,
    more: () => Attributes,
  ): Value {
    let words = this.#words.get(place)
    if (!words) this.#words.set(place, (words = new Map()))
    const known = words.get(word)
    if (known) return known
    const { key, attributes } = place
    const value = this.at(`${key} ${word}`, () => ({ ...attributes, ...more() }))
    if (words.size < this.#most) words.set(word, value)
    return value
  }

  [Symbol.iterator](): Iterator<
    [string, { readonly attributes: Attributes; readonly value: Value }]
  > {
    return this.#series[Symbol.iterator]()
  }

  read(): Reading {
    const points = [...this.#series.values()].map(({ attributes, value }) => {
      return { attributes, value: value instanceof Histogram ? value : value.value }
    })
    return { metric: this.metric, points }
  }
}

/**
 * The quantile of what was recorded since an earlier state of the same histogram, by linear
 * interpolation in its bucket, as PromQL's `histogram_quantile`; null if nothing was.
 */
export function quantile(
  { bounds, counts }: Pick<Histogram, 'bounds' | 'counts'>,
  which: number,
  before?: readonly number[],
): number | null {
  const since = counts.map((count, bucket) => count - (before?.[bucket] ?? 0))
  const all = since.reduce((sum, count) => sum + count, 0)
  if (all === 0) return null
  const rank = which * all
  let below = 0
  for (const [bucket, count] of since.entries()) {
    if (count > 0 && below + count >= rank) {
      const upper = bounds[bucket]
      const lower = bucket === 0 ? 0 : bounds[bucket - 1]!
      return upper === undefined ? lower : lower + ((upper - lower) * (rank - below)) / count
    }
    below += count
  }
  return bounds.at(-1)!
}
