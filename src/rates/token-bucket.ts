/** A rate limit by the token bucket algorithm (GCRA). */

import { checkCount, checkDuration, optionError } from '../options.ts'

/** A rate: `count` events in `per` milliseconds. */
export interface Rate {
  /** Number of events. `Infinity` sets no bound. */
  readonly count: number
  /** Milliseconds. */
  readonly per: number
}

/**
 * Checks a rate: a `count` of at least 1 in a `per` of at least 1 ms.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkRate(owner: string, option: string, rate: Rate): void {
  if (typeof rate !== 'object' || rate === null) {
    throw optionError(owner, option, 'a rate, such as { count: 10, per: 1_000 }', rate)
  }
  const { count, per } = rate
  checkCount(owner, `${option}.count`, count, 1)
  checkDuration(owner, `${option}.per`, per)
  if (per === 0 || per === Infinity) {
    throw optionError(owner, `${option}.per`, 'milliseconds of at least 1, and finite', per)
  }
}

/**
 * A token bucket of `count` tokens, refilled at `count` per `per`. It allows a burst of `count`,
 * and this rate in the long run.
 *
 * It stores only the time at which it will be full again (generic cell rate algorithm, GCRA). So it
 * needs no timer, and a bucket for each of many addresses costs little.
 *
 * @example
 * import { TokenBucket } from 'cio/kit'
 *
 * const bucket = new TokenBucket({ count: 2, per: 1_000 })
 * console.log(bucket.take(), bucket.take(), bucket.take()) // true true false
 * console.log(bucket.delay() > 400) // true: half a second until the next one
 */
export class TokenBucket {
  readonly #rate: Rate
  #full = -Infinity

  constructor(rate: Rate) {
    this.#rate = rate
  }

  /**
   * Takes a token; returns false if there is none. `now` is in milliseconds, always of the same
   * clock.
   */
  take(now?: number): boolean {
    const { count, per } = this.#rate
    // Without a bound there is nothing to count, and the clock need not be read.
    if (count === Infinity) return true
    now ??= performance.now()
    if (this.delay(now) > 0) return false
    this.#full = Math.max(this.#full, now) + per / count
    return true
  }

  /** Milliseconds until there is a token; 0 if there is one. */
  delay(now?: number): number {
    const { count, per } = this.#rate
    if (count === Infinity) return 0
    const wait = this.#full + per / count - per - (now ?? performance.now())
    return wait > rounding ? wait : 0
  }

  /** Whether the bucket is full, and so equal to a new one. */
  isFull(now: number = performance.now()): boolean {
    return this.#full <= now
  }
}

/** Rounded, since a hundred hundredths must be one. */
const rounding = 1e-6
