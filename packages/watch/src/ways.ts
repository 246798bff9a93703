/** The steps that connections have passed: the way is shared, and each has only its times. */

import type { Histogram } from './instruments.ts'

/** A step that a connection has passed, and the milliseconds it took. */
export interface PassedStep {
  readonly name: string
  readonly duration: number
}

/** A client that repeats steps has no longer way. */
const longest = 64

/** A step after those before it. */
export class Way {
  readonly name: string
  readonly before: Way | undefined
  readonly length: number
  /** The times of all connections that passed this step, also by other ways. */
  readonly histogram: Histogram | undefined
  /** The greatest length of a way that goes on from here. */
  #longest: number
  readonly #next = new Map<string, Way>()
  /** The step after this one that was taken last: it is nearly always the same. */
  #usual: Way | undefined

  constructor(name = '', before?: Way, histogram?: Histogram) {
    this.name = name
    this.before = before
    this.length = before ? before.length + 1 : 0
    this.histogram = histogram
    this.#longest = this.length
    for (let way = before; way; way = way.before) {
      way.#longest = Math.max(way.#longest, this.length)
    }
  }

  /** The way with one step more; the same if it is too long. */
  after(name: string, histogramOf: (name: string) => Histogram): Way {
    if (this.#usual?.name === name) return this.#usual
    const known = this.#next.get(name)
    if (known) return (this.#usual = known)
    if (this.length === longest) return this
    const made = new Way(name, this, histogramOf(name))
    this.#next.set(name, made)
    return (this.#usual = made)
  }

  /** Room for the times of a connection that begins with this step, in microseconds. */
  times(): number[] {
    // Of the size that it will have: an array that grows takes room for 17 more.
    return Array.from({ length: this.#longest }, () => 0)
  }
}

/** Steps with their times. */
export interface Passed {
  readonly way: Way | undefined
  readonly times: readonly number[] | undefined
}

export function passedSteps({ way, times }: Passed): PassedStep[] {
  const steps: PassedStep[] = []
  for (let at = way; at && at.length > 0; at = at.before) {
    steps.push({ name: at.name, duration: (times?.[at.length - 1] ?? 0) / 1_000 })
  }
  return steps.toReversed()
}

/** Milliseconds in the steps. */
export function timeInSteps({ times }: Passed): number {
  return (times ?? []).reduce((sum, time) => sum + time, 0) / 1_000
}
