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

/** The common part of several series: a server, a pipeline, or the target of a client. */
export interface Place {
  /** Before the key of each series. */
  readonly key: string
  readonly attributes: Attributes
}

interface Series<Value> {
  readonly attributes: Attributes
  readonly value: Value
}

/** The series that collects the rest when there are too many. */
const overflow: Place = { key: '', attributes: { 'otel.metric.overflow': true } }

/** The series of one metric. */
export class Family<Value extends Counter | Histogram> {
  readonly metric: Metric
  readonly #make: () => Value
  readonly #most: number
  readonly #series = new Map<string, Series<Value>>()
  /** The same by place and word, without building a key, which would take longer than counting. */
  readonly #byPlace = new WeakMap<Place, Map<string, Value>>()
  /** The place that was asked for last, with its values: mostly the next one too. */
  #last: { readonly place: Place; readonly values: Map<string, Value> } | undefined

  constructor(metric: Metric, most: number, make: () => Value) {
    this.metric = metric
    this.#most = most
    this.#make = make
  }

  /**
   * The series of a place and a word. Its other attributes are computed from the word, and only for
   * a new series: a closure for each call would cost more than the rest.
   */
  of(place: Place, word = '', more?: (word: string) => Attributes): Value {
    const values = this.#last?.place === place ? this.#last.values : this.#valuesOf(place)
    const known = values.get(word)
    if (known) return known
    const { value } = this.#find(place, word, more)
    if (values.size < this.#most) values.set(word, value)
    return value
  }

  #valuesOf(place: Place): Map<string, Value> {
    const values = this.#byPlace.get(place) ?? new Map<string, Value>()
    this.#byPlace.set(place, values)
    this.#last = { place, values }
    return values
  }

  #find(place: Place, word: string, more?: (word: string) => Attributes): Series<Value> {
    const key = seriesKey(place, word)
    const known = this.#series.get(key)
    if (known) return known
    // The last place is reserved for the rest.
    if (this.#series.size >= this.#most - 1 && place !== overflow) return this.#find(overflow, '')
    const series = { attributes: { ...place.attributes, ...more?.(word) }, value: this.#make() }
    this.#series.set(key, series)
    return series
  }

  [Symbol.iterator](): Iterator<[string, Series<Value>]> {
    return this.#series[Symbol.iterator]()
  }

  /** The same counts, to be added to. */
  copy(this: Family<Counter>): Family<Counter> {
    const made = new Family(this.metric, this.#most, this.#make)
    for (const [key, { attributes, value }] of this.#series) {
      made.#series.set(key, { attributes, value: Object.assign(made.#make(), value) })
    }
    return made
  }

  read(): Reading {
    const points = [...this.#series.values()].map(({ attributes, value }) => {
      return { attributes, value: value instanceof Histogram ? value : value.value }
    })
    return { metric: this.metric, points }
  }
}

/** The key of a series, as a family iterates over it. */
export function seriesKey({ key }: Place, word: string): string {
  return word === '' ? key : `${key} ${word}`
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
