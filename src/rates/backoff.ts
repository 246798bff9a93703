/** Exponential backoff with jitter: the delays between retries. */

import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import {
  checkCount,
  checkDuration,
  checkOptionNames,
  maxTimerDelay,
  optionError,
} from '../options.ts'

/** Options of a {@link Backoff}. */
export interface BackoffOptions {
  /**
   * Number of retries after the first attempt. `Infinity` never gives up.
   *
   * @default 3
   */
  readonly retries?: number
  /**
   * Base delay before the first retry, in milliseconds, before jitter.
   *
   * @default 3_000
   */
  readonly delay?: number
  /**
   * Factor by which the delay grows with each retry; at least 1.
   *
   * @default 1
   */
  readonly factor?: number
  /**
   * Longest delay in milliseconds. `Infinity` lets delays grow.
   *
   * @default 60_000
   */
  readonly maxDelay?: number
  /**
   * Random share of each delay, from 0 to 1. With 1 ("full jitter") each delay is random between 0
   * and its full length.
   *
   * @default 0
   */
  readonly jitter?: number
}

/** Exponential backoff: how often to retry, and how long to wait before each retry. */
export class Backoff {
  /** The number of retries after the first attempt. */
  readonly retries: number
  readonly #delay: number
  readonly #factor: number
  readonly #maxDelay: number
  readonly #jitter: number

  /** @throws `ERR_CIO_OPTION` */
  constructor(owner: string, options: BackoffOptions = {}) {
    checkOptionNames(owner, options, ['retries', 'delay', 'factor', 'maxDelay', 'jitter'])
    const { retries = 3, delay = 3_000, factor = 1, maxDelay = 60_000, jitter = 0 } = options
    checkCount(owner, 'retries', retries)
    checkDuration(owner, 'delay', delay)
    checkDuration(owner, 'maxDelay', maxDelay)
    if (!Number.isFinite(factor) || factor < 1) {
      throw optionError(owner, 'factor', 'a number of at least 1', factor)
    }
    if (!Number.isFinite(jitter) || jitter < 0 || jitter > 1) {
      throw optionError(owner, 'jitter', 'a number from 0 to 1', jitter)
    }
    this.retries = retries
    this.#delay = delay
    this.#factor = factor
    this.#maxDelay = maxDelay
    this.#jitter = jitter
  }

  /** Milliseconds to wait before a retry; the first is 1. */
  delay(retry: number): number {
    // Bounded before the multiplication: 0 times Infinity is NaN.
    const growth = Math.min(this.#factor ** (retry - 1), Number.MAX_VALUE)
    const whole = Math.min(this.#delay * growth, this.#maxDelay, maxTimerDelay)
    return whole * (1 - this.#jitter * Math.random())
  }

  /**
   * Milliseconds after an error that is unlikely to go away: the longest delay, less at most half
   * its jitter.
   */
  longestDelay(): number {
    const whole = Math.min(this.#maxDelay, maxTimerDelay)
    return whole * (1 - (this.#jitter / 2) * Math.random())
  }
}

/**
 * Waits for so many milliseconds; rejects with the signal's reason when it aborts. Longer times
 * than Node's timers support, such as `Infinity`, become their maximum: 24 days.
 */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  // By default Node warns of a leak from the eleventh on.
  if (signal instanceof EventTarget) setMaxListeners(0, signal)
  try {
    await delay(Math.min(milliseconds, maxTimerDelay), undefined, { signal })
  } catch {
    throw signal.reason
  }
}
