/**
 * The steps that connections have passed. Connections share the path, and each stores only its
 * times.
 */

import type { Histogram } from './instruments.ts'

/** A step that a connection has passed, and the milliseconds it took. */
export interface PassedStep {
  readonly name: string
  readonly duration: number
}

/** Maximum length of a path, for a client that repeats steps. */
const longest = 64

/** A step, with the steps before it. */
export class Way {
  readonly name: string
  readonly before: Way | undefined
  readonly length: number
  /** The times of all connections that passed this step, also by other paths. */
  readonly histogram: Histogram | undefined
  /** The greatest length of a path that continues from here. */
  #longest: number
  #zeros: readonly number[] = []
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

  /** The path with one more step, if a connection took it before. */
  after(name: string): Way | undefined {
    if (this.#usual?.name === name) return this.#usual
    const known = this.#next.get(name)
    if (known) this.#usual = known
    return known
  }

  /** The path with one more step, which is new; the same path if it is too long. */
  extend(name: string, histogram: Histogram): Way {
    if (this.length === longest) return this
    const made = new Way(name, this, histogram)
    this.#next.set(name, made)
    return made
  }

  /** An array for the times of a connection that begins with this step, in microseconds. */
  times(): number[] {
    if (this.#zeros.length < this.#longest) {
      this.#zeros = Array.from({ length: this.#longest }, () => 0)
    }
    // With its final size: an array that grows reserves space for 17 more. A copy is fast.
    return this.#zeros.slice()
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
