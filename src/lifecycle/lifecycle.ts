/**
 * The life of one run: how far it is, why it ends, and what waits for that.
 *
 * ```
 *   starting ──ready()──▶ ready
 *      │                    │
 *      └─────drain()────────┴──▶ draining ──┐
 *      │                    │               │ destroy(), abort(), settle()
 *      └────────────────────┴───────────────┴──▶ closed ──settle()──▶ (settled)
 * ```
 *
 * A phase is never left for an earlier one. `closed` aborts `ctx.signal`. A run is settled when all
 * its middleware have returned, or when they were left behind: one watchdog starts with the first
 * thing that cuts the run off, and only what settles the run stops it.
 */

import type { Deadline } from '../deadline.ts'
import { startDeadline } from '../deadline.ts'
import { type LazyAbort, fired, made } from '../streams/lazy-abort.ts'

/** How far a run is. */
export type Phase = 'starting' | 'ready' | 'draining' | 'closed'

/** Milliseconds that the middleware of a destroyed run may take to return. */
export const unwindTimeout = 1_000

/** How many steps the watchdog takes within that time. */
const looks = 4

/** Milliseconds at a deadline for what was written; less than the middleware have. */
const flushPatience = unwindTimeout / 2

/** What the three kinds of runs have in common. Each kind adds what it has to end. */
export abstract class Lifecycle {
  phase: Phase = 'starting'
  /** Whether the run has been at the end of its pipeline, whatever it is doing now. */
  wasReady = false
  /** Whether all middleware have returned. What was written may still be on its way. */
  hasReturned = false
  /** Whether it is over: all middleware have returned, or were left behind. */
  isSettled = false
  /** How many connections were destroyed at a deadline. */
  forced = 0
  /** Whether this side has destroyed it, before anything else had ended it. */
  wasDestroyed = false
  /** What it was destroyed with. */
  destroyedWith: Error | undefined

  /** Is called when the run is at the end of its pipeline. */
  declare whenReady?: () => void

  #draining: LazyAbort
  #signal: LazyAbort
  #settling: { promise: Promise<void>; resolve: () => void } | undefined
  /** The deadline of `close()`; then the watchdog. */
  #deadline: Deadline | undefined
  #isWatched = false

  get isDraining(): boolean {
    return this.phase === 'draining' || this.phase === 'closed'
  }

  get draining(): AbortSignal {
    this.#draining = made(this.#draining)
    return this.#draining.signal
  }

  get signal(): AbortSignal {
    this.#signal = made(this.#signal)
    return this.#signal.signal
  }

  /** Why it drains, where a reason was given. */
  get drainReason(): unknown {
    const draining = this.#draining
    return draining instanceof AbortController ? draining.signal.reason : draining
  }

  get settled(): Promise<void> {
    if (this.isSettled) return Promise.resolve()
    if (!this.#settling) {
      let resolve = (): void => {}
      const promise = new Promise<void>((fulfil) => (resolve = fulfil))
      this.#settling = { promise, resolve }
    }
    return this.#settling.promise
  }

  /** Says that the end of the pipeline is reached. */
  ready(): void {
    this.wasReady = true
    if (this.phase === 'starting') this.phase = 'ready'
    this.whenReady?.()
  }

  /** Asks to finish. The first reason counts. */
  drain(reason?: Error): void {
    if (this.phase !== 'closed') this.phase = 'draining'
    this.#draining = fired(this.#draining, reason ?? 'closing')
    this.drained(reason)
  }

  /** Asks to finish, and cuts off what is left at the deadline. The shortest deadline counts. */
  close(timeout: number, reason?: Error): Promise<void> {
    if (!this.isSettled) {
      this.drain(reason)
      if (timeout === 0) this.force(0)
      else this.#forceWithin(timeout)
    }
    return this.settled
  }

  /** Cuts off, for a cause of this side's. */
  destroy(cause?: Error): void {
    if (this.phase !== 'closed') {
      this.wasDestroyed = true
      this.destroyedWith = cause
    }
    this.abort(cause)
    this.watch()
  }

  /** Aborts both signals. The first cause counts. */
  abort(cause: Error | undefined): void {
    this.phase = 'closed'
    this.#signal = fired(this.#signal, cause ?? 'closed')
    this.#draining = fired(this.#draining, cause ?? 'closed')
  }

  /** Gives the middleware of a run that was cut off a time to return; then leaves them behind. */
  watch(): void {
    if (this.isSettled || this.hasReturned || this.#isWatched) return
    this.#isWatched = true
    this.#deadline?.stop()
    this.#look(looks)
  }

  /** In several steps: a stall of the event loop uses up one of them, and not the middleware's time. */
  #look(left: number): void {
    if (left === 0) return this.leaveBehind()
    this.#deadline = startDeadline(unwindTimeout / looks, () => this.#look(left - 1))
  }

  /** Begins the watchdog's time anew, if it runs: for middleware that had to wait for others. */
  watchAgain(): void {
    if (!this.#isWatched) return
    this.#isWatched = false
    this.watch()
  }

  /** Ends the run: its middleware have returned, or are left behind. */
  settle(cause?: Error): void {
    if (this.isSettled) return
    this.isSettled = true
    this.#deadline?.stop()
    this.#deadline = undefined
    this.abort(cause)
    this.#settling?.resolve()
  }

  /** Cuts off what is left at a deadline. */
  force(patience: number = flushPatience): void {
    if (this.isSettled) return
    this.forced += this.cutOff(patience)
    this.watch()
  }

  #forceWithin(timeout: number): void {
    const until = performance.now() + timeout
    if (this.#isWatched || (this.#deadline && this.#deadline.at <= until)) return
    this.#deadline?.stop()
    this.#deadline = startDeadline(timeout, () => this.force())
  }

  /** Is called whenever the run is asked to finish, also after the first time. */
  protected abstract drained(reason?: Error): void

  /**
   * Destroys what is open, and gives what was written so many milliseconds to arrive. Returns how
   * many connections that were.
   */
  protected abstract cutOff(patience: number): number

  /** Settles a run whose middleware have not returned since it was cut off, and reports that. */
  protected abstract leaveBehind(): void
}
