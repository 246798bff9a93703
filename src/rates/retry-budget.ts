/** A retry budget: retries as a share of successes. */

import { checkDuration, checkOptionNames, optionError } from '../options.ts'

/** Options of a {@link RetryBudget}. */
export interface RetryBudgetOptions {
  /**
   * Milliseconds for which a deposit or a withdrawal counts.
   *
   * @default 10_000
   */
  readonly ttl?: number
  /**
   * Retries per second that are always allowed, on average over `ttl`.
   *
   * @default 10
   */
  readonly minPerSecond?: number
  /**
   * Additional retries for each deposit: 0.2 is one retry for five successes.
   *
   * @default 0.2
   */
  readonly ratio?: number
}

const slots = 10

/**
 * A retry budget: bounds retries by a share of the successes, for many clients of one server.
 *
 * Why a budget and not only a number of attempts: a number bounds each client by itself. When a
 * server fails, all its clients begin to retry, and each allowed attempt multiplies the load when
 * the server can bear least. A shared budget bounds the sum. While most attempts succeed it never
 * limits; if none succeed, the server gets only `minPerSecond`.
 *
 * As `TpsBudget` of Tower: in any `ttl` the withdrawals are at most `ratio` times the deposits and
 * `minPerSecond` times the seconds.
 *
 * @example
 * import { Cio, reconnect } from 'cio'
 * import { RetryBudget } from 'cio/kit'
 *
 * const budget = new RetryBudget({ minPerSecond: 5 })
 * export const orders = new Cio().useClient(reconnect({ budget }))
 * export const prices = new Cio().useClient(reconnect({ budget }))
 */
export class RetryBudget {
  readonly #ratio: number
  readonly #reserve: number
  readonly #slotTime: number
  /** Deposits less withdrawals in each tenth of `ttl`, oldest first. */
  readonly #slots: number[] = Array.from({ length: slots }, () => 0)
  #slot = now()

  /** @throws `ERR_CIO_OPTION` */
  constructor(options: RetryBudgetOptions = {}) {
    checkOptionNames('RetryBudget', options, ['ttl', 'minPerSecond', 'ratio'])
    const { ttl = 10_000, minPerSecond = 10, ratio = 0.2 } = options
    checkDuration('RetryBudget', 'ttl', ttl)
    if (ttl === 0 || ttl === Infinity) {
      throw optionError('RetryBudget', 'ttl', 'milliseconds of at least 1, and finite', ttl)
    }
    for (const [option, value] of Object.entries({ minPerSecond, ratio })) {
      if (Number.isFinite(value) && value >= 0) continue
      throw optionError('RetryBudget', option, 'a number of at least 0', value)
    }
    this.#ratio = ratio
    this.#reserve = (minPerSecond * ttl) / 1_000
    this.#slotTime = ttl / slots
  }

  /** How many retries are allowed now. */
  get balance(): number {
    this.#expire()
    const sum = this.#slots.reduce((all, slot) => all + slot, this.#reserve)
    return Math.max(0, Math.floor(sum + rounding))
  }

  /** Deposits. Call it for each success. */
  deposit(): void {
    this.#expire()
    this.#slots[slots - 1]! += this.#ratio
  }

  /** Withdraws one retry. If it returns false, do not retry now. */
  withdraw(): boolean {
    if (this.balance < 1) return false
    this.#slots[slots - 1]! -= 1
    return true
  }

  #expire(): void {
    const passed = Math.floor((now() - this.#slot) / this.#slotTime)
    if (passed < 1) return
    this.#slot += passed * this.#slotTime
    for (let gone = Math.min(passed, slots); gone > 0; gone--) {
      this.#slots.shift()
      this.#slots.push(0)
    }
  }
}

/** Rounded, since five times 0.2 must be one. */
const rounding = 1e-9

function now(): number {
  return performance.now()
}
