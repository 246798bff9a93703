/** Whether the other side is alive. Pure: gets the tick and the traffic as arguments. */

import { tickDuration } from '../../src/deadline.ts'

/** The times of a heartbeat, in milliseconds. */
export interface HeartbeatTimes {
  /** Milliseconds of silence until a ping. */
  readonly interval: number
  /** Milliseconds after `interval` until the other side counts as dead. */
  readonly timeout: number
}

/** The traffic since the connection began, for comparison. */
export interface Passed {
  readonly received: number
  readonly sent: number
  /** Whether unread input waits. Then this side does not notice what the other side sends. */
  readonly isPaused: boolean
}

/** Number of checks within each of the times. */
const looks = 16

/** Counts the ticks of silence of one connection. */
export class Liveness {
  #interval = 0
  #timeout = 0
  #heardAt: number
  #saidAt: number
  #pingedAt: number | undefined
  #mustPing = false
  #last: Passed

  constructor(times: HeartbeatTimes, tick: number, passed: Passed) {
    this.#heardAt = tick
    this.#saidAt = tick
    this.#last = passed
    this.set(times)
  }

  set({ interval, timeout }: HeartbeatTimes): void {
    this.#interval = Math.ceil(interval / tickDuration)
    this.#timeout = Math.ceil(timeout / tickDuration)
  }

  /** Ticks until the next look. */
  get next(): number {
    const shortest = Math.min(this.#interval, this.#timeout)
    return shortest === Infinity ? looks : Math.max(1, Math.floor(shortest / looks))
  }

  /** The next action, if any. */
  look(tick: number, passed: Passed): 'dead' | 'ping' | undefined {
    const last = this.#last
    this.#last = passed
    if (passed.received !== last.received || passed.isPaused) this.#heardAt = tick
    if (passed.sent !== last.sent) this.#saidAt = tick
    const interval = this.#interval
    const mostSilence = (interval === Infinity ? 0 : interval) + this.#timeout
    // The last byte came after the begin of its tick.
    if (tick - this.#heardAt > mostSilence) return 'dead'
    const isDue = tick - Math.min(this.#heardAt, this.#saidAt) >= interval
    const wasLately = this.#pingedAt !== undefined && tick - this.#pingedAt < interval
    if (!this.#mustPing && (!isDue || wasLately)) return undefined
    this.#mustPing = false
    this.#pingedAt = tick
    return 'ping'
  }

  /** This side was stalled: it sends a ping at once, and waits `timeout` for the answer. */
  stalled(tick: number): void {
    const interval = this.#interval
    this.#heardAt = interval === Infinity ? tick : Math.max(this.#heardAt, tick - interval)
    this.#mustPing = interval !== Infinity
  }
}
