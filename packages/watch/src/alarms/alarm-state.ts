/** One alarm: raised and cleared with hysteresis. */

import type { Rule } from './rules.ts'

export class AlarmState {
  active = false
  value: number | undefined
  /** When it changed last, in milliseconds since 1970. */
  since: number = Date.now()
  readonly #rule: Rule
  readonly #cooldown: number
  /**
   * When the value began to require a change, and when the last change was, by `performance.now()`.
   */
  #asks: number | undefined
  #changed = -Infinity

  constructor(rule: Rule, cooldown: number) {
    this.#rule = rule
    this.#cooldown = cooldown
  }

  /** Takes a value, and returns whether the alarm has changed by it. */
  take(value: number | undefined, now: number): boolean {
    this.value = value
    if (!this.#wantsChange(value)) {
      this.#asks = undefined
      return false
    }
    this.#asks ??= now
    if (now - this.#asks < this.#rule.duration || now - this.#changed < this.#cooldown) return false
    this.active = !this.active
    this.since = Date.now()
    this.#changed = now
    this.#asks = undefined
    return true
  }

  #wantsChange(value: number | undefined): boolean {
    // An alarm ends if its subject no longer exists.
    if (value === undefined) return this.active
    const { raise, clear, isBelow = false } = this.#rule
    if (this.active) return isBelow ? value >= clear : value <= clear
    return isBelow ? value <= raise : value >= raise
  }
}
