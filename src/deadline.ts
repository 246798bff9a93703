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

/** Milliseconds of a tick. */
export const tickDuration = 250
/** A tick that is later by so many ticks says that this process stood still. */
const stallTicks = 4

/**
 * Something that is looked at now and then, at ticks that all share: one timer for all of them, and
 * none while there are none.
 *
 * A tick that comes late is still one tick. So a process that stood still has not used up anybody's
 * time, and `stalled` is called for each.
 */
export class Watch {
  static readonly #slots = new Map<number, Set<Watch>>()
  static readonly #all = new Set<Watch>()
  static #tick = 0
  static #due = 0
  static #wallDue = 0
  static #timer: NodeJS.Timeout | undefined

  readonly #look: (tick: number) => void
  readonly #stalled: (tick: number) => void
  #at = 0

  /** The number of the present tick. */
  static get tick(): number {
    return Watch.#tick
  }

  constructor(look: (tick: number) => void, stalled: (tick: number) => void) {
    this.#look = look
    this.#stalled = stalled
    Watch.#all.add(this)
    if (!Watch.#timer) Watch.#arm()
  }

  /** Calls `look` after so many ticks; a call before this one counts no more. */
  in(ticks: number): void {
    if (!Watch.#all.has(this)) return
    this.#leaveSlot()
    // The present tick has begun already.
    this.#at = Watch.#tick + Math.max(1, ticks)
    const slot = Watch.#slots.get(this.#at)
    if (slot) slot.add(this)
    else Watch.#slots.set(this.#at, new Set([this]))
  }

  /** Ends it. May be called again. */
  stop(): void {
    this.#leaveSlot()
    Watch.#all.delete(this)
    if (Watch.#all.size > 0) return
    clearTimeout(Watch.#timer)
    Watch.#timer = undefined
  }

  #leaveSlot(): void {
    const slot = Watch.#slots.get(this.#at)
    slot?.delete(this)
    if (slot?.size === 0) Watch.#slots.delete(this.#at)
  }

  static #arm(): void {
    Watch.#due = performance.now() + tickDuration
    // The monotonic clock of Linux stands still while the machine is suspended.
    Watch.#wallDue = Date.now() + tickDuration
    Watch.#timer = setTimeout(Watch.#next, tickDuration).unref()
  }

  static readonly #next = (): void => {
    const late = Math.max(performance.now() - Watch.#due, Date.now() - Watch.#wallDue)
    const tick = ++Watch.#tick
    const slot = Watch.#slots.get(tick)
    Watch.#slots.delete(tick)
    Watch.#arm()
    if (late > stallTicks * tickDuration) for (const one of Watch.#all) one.#stalled(tick)
    for (const one of slot ?? []) one.#look(tick)
  }
}
