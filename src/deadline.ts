/**
 * A timer wheel for deadlines, since most are cancelled and few expire.
 *
 * Deadlines of one duration expire in the order in which they were set. So they form a list, which
 * one timer serves. A deadline is late by at most a sixteenth of its duration, and never early.
 */

import { maxTimerDelay } from './options.ts'

/** How much of its duration a deadline may be late. */
const leeway = 1 / 16

/**
 * With more lists than this, Cio forgets an empty list at once: each call may have its own
 * duration.
 */
const idleLists = 16

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
    else if (!this.#first) this.#timer.ref()
    deadline.before = this.#last
    if (this.#last) this.#last.after = deadline
    else this.#first = deadline
    this.#last = deadline
    return deadline
  }

  remove(deadline: Deadline): void {
    const { before, after } = deadline
    // V8 keeps what an old object refers to, even once that is garbage: a chain of all later ones.
    deadline.before = undefined
    deadline.after = undefined
    if (before) before.after = after
    else this.#first = after
    if (after) after.before = before
    else this.#last = before
    if (this.#first || !this.#timer) return
    if (lists.size > idleLists) this.#forget()
    // Keeps the timer: connections often come one after the other, and the next one needs no new
    // timer then.
    else this.#timer.unref()
  }

  /** Clears the timer if no deadline is left. */
  clearIdle(): void {
    if (!this.#first && this.#timer) this.#forget()
  }

  #forget(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (lists.get(this.#duration) === this) lists.delete(this.#duration)
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
      // Even if a callback has thrown: the other deadlines must still expire.
      if (this.#first) this.#arm(Math.max(this.#first.at - now, this.#duration * leeway))
      else this.#forget()
    }
  }
}

const lists = new Map<number, List>()

/**
 * Clears timers that are kept without a deadline, so that a check for leaks does not report them.
 */
export function clearIdleTimers(): void {
  for (const list of lists.values()) list.clearIdle()
}

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

/** Milliseconds of a tick. */
export const tickDuration = 250
/** If a tick is late by more than this number of ticks, the process was stalled. */
const stallTicks = 4

const slots = new Map<number, Set<Watch>>()
const watches = new Set<Watch>()
let tickNow = 0
let due = 0
let wallDue = 0
let timer: NodeJS.Timeout | undefined

/**
 * A periodic check at ticks that all watches share. One timer serves all of them; without a watch
 * there is no timer.
 *
 * A late tick counts as one tick, so that a stall of this process does not use up the time of a
 * connection. After a stall Cio calls `stalled` of each watch.
 */
export class Watch {
  /** @internal */
  readonly look: (tick: number) => void
  /** @internal */
  readonly stalled: (tick: number) => void
  #at = 0

  /** The number of the current tick. */
  static get tick(): number {
    return tickNow
  }

  constructor(look: (tick: number) => void, stalled: (tick: number) => void) {
    this.look = look
    this.stalled = stalled
    watches.add(this)
    if (!timer) arm()
  }

  /** Calls `look` after so many ticks. It replaces an earlier call of `in()`. */
  in(ticks: number): void {
    if (!watches.has(this)) return
    this.#leaveSlot()
    // The current tick has begun already.
    this.#at = tickNow + Math.max(1, ticks)
    const slot = slots.get(this.#at)
    if (slot) slot.add(this)
    else slots.set(this.#at, new Set([this]))
  }

  /** Ends the watch. May be called again. */
  stop(): void {
    this.#leaveSlot()
    watches.delete(this)
    if (watches.size > 0) return
    clearTimeout(timer)
    timer = undefined
  }

  #leaveSlot(): void {
    const slot = slots.get(this.#at)
    slot?.delete(this)
    if (slot?.size === 0) slots.delete(this.#at)
  }
}

function arm(): void {
  due = performance.now() + tickDuration
  // The monotonic clock of Linux stands still while the machine is suspended.
  wallDue = Date.now() + tickDuration
  timer = setTimeout(nextTick, tickDuration).unref()
}

function nextTick(): void {
  const late = Math.max(performance.now() - due, Date.now() - wallDue)
  const tick = ++tickNow
  const slot = slots.get(tick)
  slots.delete(tick)
  arm()
  if (late > stallTicks * tickDuration) for (const one of watches) one.stalled(tick)
  for (const one of slot ?? []) one.look(tick)
}
