/** What the contexts of all three pipelines share. */

import { reportError } from './app-events.ts'
import type { Cio } from '../cio.ts'
import { CioError } from '../errors.ts'
import { type LazyAbort, fired, hasFired, made } from '../streams/lazy-abort.ts'
import { checkDuration } from '../options.ts'
import { showAs } from '../secret-options.ts'

/** Options of `close()`. */
export interface CloseOptions {
  /**
   * Milliseconds to finish in; what is open then is destroyed. 0 destroys it at once, `Infinity`
   * waits for ever.
   *
   * @default 15_000
   */
  readonly timeout?: number
  /**
   * Milliseconds over which a server spreads asking its connections to finish, so that their peers
   * do not all come back at once; at most `timeout`.
   *
   * @default 0
   */
  readonly spread?: number
}

/** What `close()` fulfils with. */
export interface CloseResult {
  /** How many connections had to be destroyed at the deadline. */
  readonly forced: number
}

/** The default of `close({ timeout })`, in milliseconds. */
export const closeTimeout = 15_000
/** Milliseconds that the middleware of a destroyed run may take to return. */
const unwindTimeout = 1_000

/** What the contexts of all three pipelines have. */
export abstract class Context {
  static {
    showAs(this.prototype, (ctx) => ctx.summary)
  }

  readonly app: Cio
  /** The innermost middleware that the run has entered: where it waits, or what returned early. */
  step = ''
  /** Whether the run has come to its far end. */
  arrived = false

  #state: Record<PropertyKey, unknown> | undefined
  #draining: LazyAbort
  #signal: LazyAbort
  #destroyedWith: Error | undefined
  #closed: { promise: Promise<void>; resolve: () => void } | undefined
  #settled = false
  #unwinding: NodeJS.Timeout | undefined

  constructor(app: Cio) {
    this.app = app
  }

  /** A place for one's own, as in Koa. */
  get state(): Record<PropertyKey, unknown> {
    return (this.#state ??= {})
  }

  /** Aborts when it is time to finish what one is doing: `close()` was called. */
  get draining(): AbortSignal {
    this.#draining = made(this.#draining)
    return this.#draining.signal
  }

  /** Aborts when it is over; `reason` says why, `ERR_CIO_CLOSED` if nothing went wrong. */
  get signal(): AbortSignal {
    this.#signal = made(this.#signal)
    return this.#signal.signal
  }

  /** Fulfils when the run is over and all its middleware have returned. Never rejects. */
  get closed(): Promise<void> {
    if (this.#settled) return Promise.resolve()
    if (!this.#closed) {
      let resolve = (): void => {}
      const promise = new Promise<void>((fulfil) => (resolve = fulfil))
      this.#closed = { promise, resolve }
    }
    return this.#closed.promise
  }

  /** Whether `draining` has aborted; costs less than to ask for the signal. */
  get isDraining(): boolean {
    return hasFired(this.#draining)
  }

  /** Whether `signal` has aborted; costs less than to ask for the signal. */
  get isClosed(): boolean {
    return hasFired(this.#signal)
  }

  /** What `destroy()` was given. */
  get destroyedWith(): Error | undefined {
    return this.#destroyedWith
  }

  /** Asks to finish: aborts `draining`. */
  drain(reason?: Error): void {
    this.#draining = fired(this.#draining, reason ?? 'closing')
  }

  /** Cuts off: aborts `signal` and `draining`. The error becomes the outcome of the run. */
  destroy(reason?: Error): void {
    if (!this.isClosed) this.#destroyedWith = reason
    this.abort(reason)
  }

  /**
   * Asks to finish, destroys what is left at the deadline, and fulfils when the run is over. May be
   * called again, with a shorter time.
   *
   * A middleware that does not return even then is left behind: `error` tells of it, by
   * `ERR_CIO_STUCK`.
   *
   * @throws `ERR_CIO_OPTION`: `timeout` is not a duration
   */
  async close({ timeout = closeTimeout }: CloseOptions = {}): Promise<CloseResult> {
    checkDuration('close', 'timeout', timeout)
    if (!this.#settled) this.drain()
    if (timeout === 0) this.force()
    const timed = timeout > 0 && timeout < Infinity
    const deadline = timed ? setTimeout(() => this.force(), timeout) : undefined
    await this.closed
    clearTimeout(deadline)
    return { forced: this.forced }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** What `console.log` prints: who it is and how far. Options have secrets, and are not in it. */
  protected get summary(): object {
    const open = this.arrived ? 'ready' : 'starting'
    return { state: this.isClosed ? 'closed' : this.isDraining ? 'draining' : open }
  }

  /** How many connections were destroyed at a deadline. */
  protected abstract get forced(): number

  /** Destroys what is left at a deadline. */
  protected force(): void {
    if (this.#settled) return
    this.#unwinding ??= setTimeout(() => {
      this.#unwinding = undefined
      this.abandon()
    }, unwindTimeout)
  }

  /** Leaves behind what has not returned since `force()`. */
  abandon(): void {
    const message = `\`${this.step}\`, or what stands outside it, has not returned ${unwindTimeout} ms after its run was destroyed, and is left behind; it should end when ctx.signal aborts`
    reportError(this.app, new CioError('ERR_CIO_STUCK', message), this)
    this.settle()
  }

  /** Aborts both signals, for a reason of the connection's own. */
  protected abort(reason: Error | undefined): void {
    this.#signal = fired(this.#signal, reason ?? 'closed')
    this.#draining = fired(this.#draining, reason ?? 'closed')
  }

  /** Ends the run: for those who run pipelines. */
  settle(outcome?: Error): void {
    clearTimeout(this.#unwinding)
    this.#settled = true
    this.abort(outcome)
    this.#closed?.resolve()
  }
}
