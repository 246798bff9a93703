/** The deadlines of the calls of one connection. */

import { maxTimerDelay } from '../../options.ts'

/** An entry that has a deadline. */
export interface Due {
  /** When its time is over, by `performance.now()`. */
  readonly due: number
  readonly timeout: number
}

/** How much of its duration a deadline may be late. */
const leeway = 1 / 16

/**
 * One timer for all calls, since a timer for each would cost more than all the rest. Unlike with
 * `startDeadline`, an answer does not stop the timer: calls often follow one another, and the next
 * one would start it again at once.
 */
export class CallDeadlines<Call extends Due> {
  readonly #calls: () => Iterable<Call>
  readonly #isOver: (call: Call) => void
  #timer: NodeJS.Timeout | undefined
  #next = Infinity
  #isStopped = false

  /** @param isOver Called for each call that is due; may move the call to a later time. */
  constructor(calls: () => Iterable<Call>, isOver: (call: Call) => void) {
    this.#calls = calls
    this.#isOver = isOver
  }

  /** Adds a call. */
  watch({ due }: Call): void {
    if (due < this.#next) this.#wait(due, due)
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  #wait(due: number, at: number): void {
    clearTimeout(this.#timer)
    this.#next = due
    if (due === Infinity || this.#isStopped) return
    const delay = Math.min(Math.ceil(at - performance.now()), maxTimerDelay)
    this.#timer = setTimeout(this.#look, delay)
  }

  readonly #look = (): void => {
    const now = performance.now()
    for (const call of this.#calls()) if (call.due <= now) this.#isOver(call)
    let next: Call | undefined
    for (const call of this.#calls()) if (!next || call.due < next.due) next = call
    // Not one timer for each due time, since each run goes through all calls.
    if (next) this.#wait(next.due, Math.max(next.due, now + next.timeout * leeway))
    else this.#wait(Infinity, Infinity)
  }
}
