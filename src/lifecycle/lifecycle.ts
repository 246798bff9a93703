/**
 * The lifecycle of one run: its phase, the cause of its end, and what waits for it.
 *
 * ```
 *   starting ──ready()──▶ ready
 *      │                    │
 *      └─────drain()────────┴──▶ draining ──┐
 *      │                    │               │ destroy(), abort(), settle()
 *      └────────────────────┴───────────────┴──▶ closed ──settle()──▶ (settled)
 * ```
 *
 * A run never goes back to an earlier phase. `closed` aborts `ctx.signal`. A run is settled when
 * all its middleware have returned or were left behind. One watchdog starts when the run is first
 * destroyed or aborted, and only stops when the run settles.
 */

import { type Deadline, startDeadline } from '../deadline.ts'
import { CioError } from '../errors.ts'
import { SteppedDeadline } from '../streams/stepped-deadline.ts'
import { type LazyAbort, fired, made } from '../streams/lazy-abort.ts'

/** The phase of a run. */
export type Phase = 'starting' | 'ready' | 'draining' | 'closed'

/** Milliseconds that the middleware of a destroyed run may take to return. */
export const unwindTimeout = 1_000

/** Milliseconds at a deadline to flush what was written; less than the middleware get to return. */
const flushPatience = unwindTimeout / 2

/** The common part of the three kinds of runs. Each kind adds how it ends its resources. */
export abstract class Lifecycle {
  phase: Phase = 'starting'
  /** Whether the run has ever reached the end of its pipeline. */
  wasReady = false
  /** Whether all middleware have returned. Written data may still be in flight. */
  hasReturned = false
  /** Whether it is settled: all middleware have returned, or were left behind. */
  isSettled = false
  /** How many connections were destroyed at a deadline. */
  forced = 0
  /** Whether this side destroyed it before it ended otherwise. */
  wasDestroyed = false
  /** The error that destroyed it. */
  destroyedWith: Error | undefined

  /** Called when the run reaches the end of its pipeline. */
  declare whenReady?: () => void

  #draining: LazyAbort
  #signal: LazyAbort
  #settling: { promise: Promise<void>; resolve: () => void } | undefined
  /** The deadline of `close()`. */
  #deadline: Deadline | undefined
  #watchdog: SteppedDeadline | undefined

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

  /** Why it drains, if a reason was given. */
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

  /** Notes that the run has reached the end of its pipeline. */
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

  /** Asks to finish, and destroys what is left at the deadline. The shortest deadline counts. */
  close(timeout: number, reason?: Error): Promise<void> {
    if (!this.isSettled) {
      this.drain(reason)
      if (timeout === 0) this.force(0)
      else this.#forceWithin(timeout)
    }
    return this.settled
  }

  /** Destroys the run, for a cause on this side. */
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

  /** Gives the middleware of a destroyed run some time to return; then leaves them behind. */
  watch(): void {
    if (this.isSettled || this.hasReturned || this.#watchdog) return
    this.#deadline?.stop()
    this.#watchdog = new SteppedDeadline(unwindTimeout, () => this.leaveBehind())
  }

  /** Restarts the watchdog, if it runs: for middleware that had to wait for others. */
  watchAgain(): void {
    if (!this.#watchdog) return
    this.#watchdog.stop()
    this.#watchdog = undefined
    this.watch()
  }

  /** Settles the run: its middleware have returned, or are left behind. */
  settle(cause?: Error): void {
    if (this.isSettled) return
    this.isSettled = true
    this.#deadline?.stop()
    this.#deadline = undefined
    this.#watchdog?.stop()
    this.abort(cause)
    this.#settling?.resolve()
  }

  /** Destroys what is left at a deadline. */
  force(patience: number = flushPatience): void {
    if (this.isSettled) return
    this.forced += this.cutOff(patience)
    this.watch()
  }

  #forceWithin(timeout: number): void {
    const until = performance.now() + timeout
    if (this.#watchdog || (this.#deadline && this.#deadline.at <= until)) return
    this.#deadline?.stop()
    this.#deadline = startDeadline(timeout, () => this.force())
  }

  /** Called whenever the run is asked to finish, also after the first time. */
  protected abstract drained(reason?: Error): void

  /**
   * Destroys what is open, after so many milliseconds to flush. Returns the number of connections.
   */
  protected abstract cutOff(patience: number): number

  /** Settles and reports a run whose middleware have not returned since it was destroyed. */
  protected abstract leaveBehind(): void
}

/** The error of a destroyed run whose middleware have not returned. */
export function stuckError({ step }: { readonly step: string }): CioError {
  const message = `\`${step}\`, or what stands outside it, has not returned ${unwindTimeout} ms after its run was destroyed, and is left behind; it should end when ctx.signal aborts, and must not await close() of its own run or server: call that without await, and return`
  return new CioError('ERR_CIO_STUCK', message)
}
