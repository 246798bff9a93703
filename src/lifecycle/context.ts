/** The common part of the contexts of all three pipelines. */

import type { App, ContextKind } from './app.ts'
import type { Lifecycle } from './lifecycle.ts'
import { asError } from '../errors.ts'
import { checkDuration, checkOptionNames } from '../options.ts'
import { showAs } from './secret-options.ts'

/** Options of `close()`. */
export interface CloseOptions {
  /**
   * Milliseconds to finish; then Cio destroys what is still open. 0 destroys it at once, `Infinity`
   * waits for ever.
   *
   * @default 15_000
   */
  readonly timeout?: number
  /**
   * The reason of `ctx.draining`. The first one counts.
   *
   * @default an error with the code `ERR_CIO_CLOSING`
   */
  readonly reason?: Error
  /**
   * Staggered drain: milliseconds over which a server spreads its requests to finish, so that
   * clients do not all reconnect at once. At most `timeout`.
   *
   * @default 0
   */
  readonly spread?: number
  /**
   * Milliseconds that a connection of a server has, from accept, before Cio asks it to finish, so
   * that a client which has just connected can still send its request. At most `timeout`.
   *
   * @default 0
   */
  readonly minLifetime?: number
}

/** The names of the options of `close()`. */
export const closeOptionNames: readonly string[] = ['timeout', 'reason', 'spread', 'minLifetime']

/** The result of `close()`. */
export interface CloseResult {
  /** How many connections had to be destroyed at the deadline. */
  readonly forced: number
}

/** The default of `close({ timeout })`, in milliseconds. */
export const closeTimeout = 15_000

/**
 * The lifecycle of the run, for the core.
 *
 * @internal
 */
export let lifeOf: <Ctx extends Context>(ctx: Ctx) => Ctx['lifeType']

/** The members of the contexts of all three pipelines. */
export abstract class Context {
  static {
    showAs(this.prototype, (ctx) => ctx.summary)
  }

  /**
   * Only for the compiler: the type of its life, which only the core can reach.
   *
   * @internal
   */
  declare readonly lifeType: Lifecycle
  /** The pipeline of this context. */
  abstract readonly kind: ContextKind
  /** The app that this run belongs to. */
  readonly app: App
  /** The innermost middleware entered: it is waiting now, or it returned early. */
  step = ''
  /**
   * The `generation` of its pipeline when the run began. The run keeps the order of that
   * generation. 0 before the run begins.
   */
  generation = 0

  readonly #life: Lifecycle
  #state: Record<PropertyKey, unknown> | undefined

  static {
    lifeOf = (ctx) => ctx.#life
  }

  /** @internal */
  constructor(app: App, life: Lifecycle) {
    this.app = app
    this.#life = life
  }

  /** The application's own data, as in Koa. */
  get state(): Record<PropertyKey, unknown> {
    return (this.#state ??= {})
  }

  /** Aborts when it is time to finish: after `close()`, or when the run is over. */
  get draining(): AbortSignal {
    return this.#life.draining
  }

  /** Aborts when the run is over; `reason` is the error, or `ERR_CIO_CLOSED` without one. */
  get signal(): AbortSignal {
    return this.#life.signal
  }

  /** Fulfils when the run is over and all its middleware have returned. Never rejects. */
  get closed(): Promise<void> {
    return this.#life.settled
  }

  /** Whether `signal` has aborted; cheaper than `signal.aborted`. */
  get isClosed(): boolean {
    return this.#life.phase === 'closed'
  }

  /** Whether `draining` has aborted; cheaper than `draining.aborted`. */
  get isDraining(): boolean {
    return this.#life.isDraining
  }

  /**
   * Whether the run has reached the end of its pipeline.
   *
   * @internal
   */
  get wasReady(): boolean {
    return this.#life.wasReady
  }

  /** Destroys the run: aborts `signal` and `draining`. The error becomes the outcome of the run. */
  destroy(cause?: Error): void {
    // JavaScript may pass anything. As with Node's streams, null means no error.
    this.#life.destroy(cause === undefined || cause === null ? undefined : asError(cause))
  }

  /**
   * Graceful close: asks to finish, destroys what is left at the deadline, and fulfils when the run
   * is over. May be called again, with a shorter time.
   *
   * A middleware that still does not return is left behind: `error` reports `ERR_CIO_STUCK`.
   *
   * @throws `ERR_CIO_OPTION`: an option is unknown, or `timeout` is not a duration
   */
  async close(options: CloseOptions = {}): Promise<CloseResult> {
    checkOptionNames('close', options, closeOptionNames)
    const { timeout = closeTimeout, reason } = options
    checkDuration('close', 'timeout', timeout)
    await this.#life.close(timeout, reason === undefined ? undefined : asError(reason))
    return { forced: this.#life.forced }
  }

  /** Calls `close()` at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * What `console.log` prints: the state, without options, since these contain secrets.
   *
   * @internal
   */
  protected get summary(): object {
    return { state: this.#life.phase }
  }
}
