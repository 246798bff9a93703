/** Retries as a share of what goes well. */

import { checkDuration, checkOptionNames, optionError } from '../options.ts'

/** Options of a {@link RetryBudget}. */
export interface RetryBudgetOptions {
  /**
   * Milliseconds that a deposit and a withdrawal count.
   *
   * @default 10_000
   */
  readonly ttl?: number
  /**
   * Retries a second that are allowed whatever happens, over the whole of `ttl`.
   *
   * @default 10
   */
  readonly minPerSecond?: number
  /**
   * Retries that each deposit allows on top: 0.2 is one for five.
   *
   * @default 0.2
   */
  readonly ratio?: number
}

const slots = 10

/**
 * Bounds retries by a share of what goes well, for many who retry against the same peer.
 *
 * Why a budget and not only a number of attempts: a number bounds each client by itself. When a
 * server fails, all its clients begin to retry, and each attempt that is allowed multiplies the
 * load at the moment when there is least to bear it with. One budget that they share bounds the
 * sum: while most go well it never bites, and when nothing does, `minPerSecond` is all that the
 * server gets.
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
  /** What was put in, less what was taken out, in each tenth of `ttl`; the first is the oldest. */
  readonly #slots: number[] = Array.from({ length: slots }, () => 0)
  #slot = now()

  /** @throws `ERR_CIO_OPTION` */
  constructor(options: RetryBudgetOptions = {}) {
    const { ttl = 10_000, minPerSecond = 10, ratio = 0.2 } = options
    checkOptionNames('RetryBudget', options, ['ttl', 'minPerSecond', 'ratio'])
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

  /** How many retries it allows now. */
  get balance(): number {
    this.#expire()
    const sum = this.#slots.reduce((all, slot) => all + slot, this.#reserve)
    return Math.max(0, Math.floor(sum + rounding))
  }

  /** Notes something that went well. */
  deposit(): void {
    this.#expire()
    this.#slots[slots - 1]! += this.#ratio
  }

  /** Takes out one retry; false where there is none left, and it must not be made now. */
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

/** Five times 0.2 must be one. */
const rounding = 1e-9

function now(): number {
  return performance.now()
}
