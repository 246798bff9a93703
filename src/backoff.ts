/** Delays between tries, which grow and are spread out. */

import { setTimeout as delay } from 'node:timers/promises'
import { checkCount, checkDuration, optionError } from './option.ts'

/** Options of a {@link Backoff}. */
export interface BackoffOptions {
  /**
   * How many tries follow the first. `Infinity` never gives up.
   *
   * @default 3
   */
  readonly retries?: number
  /**
   * Milliseconds before the first retry.
   *
   * @default 3_000
   */
  readonly delay?: number
  /**
   * What each delay is the last one multiplied by; at least 1.
   *
   * @default 1
   */
  readonly factor?: number
  /**
   * Milliseconds that no delay exceeds. `Infinity` lets them grow.
   *
   * @default 60_000
   */
  readonly maxDelay?: number
  /**
   * The share of each delay that is left to chance, from 0 to 1: at 1 it is anything from nothing
   * to the whole ("full jitter").
   *
   * @default 0
   */
  readonly jitter?: number
}

/** How many times to try again, and how long to wait before each. */
export class Backoff {
  readonly retries: number
  readonly #delay: number
  readonly #factor: number
  readonly #maxDelay: number
  readonly #jitter: number

  /** @throws `ERR_CIO_OPTION` */
  constructor(
    owner: string,
    { retries = 3, delay = 3_000, factor = 1, maxDelay = 60_000, jitter = 0 }: BackoffOptions = {},
  ) {
    checkCount(owner, 'retries', retries)
    checkDuration(owner, 'delay', delay)
    checkDuration(owner, 'maxDelay', maxDelay)
    if (!(factor >= 1)) throw optionError(owner, 'factor', 'a number of at least 1', factor)
    if (!(jitter >= 0 && jitter <= 1)) {
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
    const whole = Math.min(this.#delay * this.#factor ** (retry - 1), this.#maxDelay)
    return whole * (1 - this.#jitter * Math.random())
  }
}

/** Waits for so many milliseconds; rejects with the signal's reason when it aborts. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(milliseconds, undefined, { signal })
  } catch {
    throw signal.reason
  }
}
