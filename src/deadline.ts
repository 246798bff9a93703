/**
 * A timer wheel for deadlines, since most are cancelled and few expire.
 *
 * Deadlines of one duration expire in the order in which they were set. So they form a list, which
 * one timer serves. A deadline is late by at most a sixteenth of its duration, and never early.
 */

import { maxTimerDelay } from './options.ts'

/** How much of its duration a deadline may be late. */
const leeway = 1 / 16

/** A deadline that was set. */
export class Deadline {
  readonly at: number
  readonly expire: () => void
  #list: List | undefined
  /** Its neighbours in the list. Private to the list. */
  before: Deadline | undefined
  after: Deadline | undefined

  constructor(list: List, at: number, expire: () => void) {
    this.#list = list
    this.at = at
    this.expire = expire
  }

  /** Cancels it. May be called again, and after it has expired. */
  stop(): void {
    this.#list?.remove(this)
    this.#list = undefined
  }
}

/** The deadlines of one duration. */
class List {
  readonly #duration: number
  #first: Deadline | undefined
  #last: Deadline | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(duration: number) {
    this.#duration = duration
  }

  add(expire: () => void): Deadline {
    const deadline = new Deadline(this, performance.now() + this.#duration, expire)
    if (!this.#timer) this.#arm(this.#duration)
    deadline.before = this.#last
    if (this.#last) this.#last.after = deadline
    else this.#first = deadline
    this.#last = deadline
    return deadline
  }

  remove({ before, after }: Deadline): void {
    if (before) before.after = after
    else this.#first = after
    if (after) after.before = before
    else this.#last = before
    if (this.#first) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    lists.delete(this.#duration)
  }

  #arm(delay: number): void {
    this.#timer = setTimeout(this.#look, Math.min(Math.ceil(delay), maxTimerDelay))
  }

  readonly #look = (): void => {
    const now = performance.now()
    try {
      while (this.#first && this.#first.at <= now) {
        const due = this.#first
        due.stop()
        due.expire()
      }
    } finally {
      // Also if one has thrown: the others must not wait for ever.
      if (this.#first) this.#arm(Math.max(this.#first.at - now, this.#duration * leeway))
    }
  }
}

const lists = new Map<number, List>()

/**
 * Calls a function after so many milliseconds, unless it is cancelled before. `Infinity` sets no
 * deadline.
 */
export function startDeadline(duration: number, expire: () => void): Deadline | undefined {
  if (duration === Infinity) return undefined
  let list = lists.get(duration)
  if (!list) lists.set(duration, (list = new List(duration)))
  return list.add(expire)
}
