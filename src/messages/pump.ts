/** Passes messages to a handler while the inner middleware run. */

import { isPromise } from 'node:util/types'
import { asError, isCioError } from '../errors.ts'
import { endGracefully } from '../streams/end-gracefully.ts'
import { nothing } from './message-writer.ts'
import type { Messages, MessagesContext } from './messages.ts'
import { checkOptionNames } from '../options.ts'
import type { Next } from '../pipeline/middleware.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** Options of a {@link Pump}. */
export interface PumpOptions {
  /** The name of the middleware, for errors. */
  readonly owner: string
  /** Handles one message; the next waits for its promise. An error ends the connection. */
  readonly take: (message: unknown) => unknown
  /** Maximum concurrent pieces of work. At this bound the pump reads no more until one is done. */
  readonly maxRunning: number
  /**
   * Whether the pump reads on at that bound: for answers that pending work needs. The pump asks
   * again after `wake()`. Without it, the pump never reads on.
   */
  readonly readsOn?: () => boolean
  /**
   * Whether an answer is pending, so that the pump reads on while draining. Without it, the pump
   * does not.
   */
  readonly expects?: () => boolean
  /**
   * Called when nothing more will be read, perhaps more than once. Without it, nothing is called.
   */
  readonly ended?: () => void
  /** Called once, when the stream has closed. Without it, nothing is called. */
  readonly closed?: () => void
  /**
   * Returns the last message before the connection is destroyed; undefined sends none. Without it,
   * there is none.
   */
  readonly lastMessage?: (error: Error) => unknown
}

const optionNames = [
  'owner',
  'take',
  'maxRunning',
  'readsOn',
  'expects',
  'ended',
  'closed',
  'lastMessage',
]
const farewellTimeout = 1_000
const events = ['data', 'end', 'close'] as const

/**
 * Passes the messages of a connection to a function while the inner middleware run: for middleware
 * that build a protocol on messages, as `events` and `rpc` do.
 *
 * It begins with `start()`, or at the end of the pipeline if nothing else reads. While draining it
 * stops between messages, and ends the stream. When the input has ended, or the inner middleware
 * have returned, it waits for the pending work.
 *
 * @example
 * import { type Middleware, type StreamContext } from 'cio'
 * import { type Messages, Pump } from 'cio/kit'
 *
 * interface Needs { messages: Messages<unknown> }
 *
 * const count = (): Middleware<StreamContext & Needs, { count: number }> =>
 *   async function count(ctx, next) {
 *     ctx.count = 0
 *     const pump = new Pump(ctx, { owner: 'count', maxRunning: 1, take: () => (ctx.count += 1) })
 *     pump.start()
 *     await pump.run(next)
 *   }
 */
export class Pump {
  readonly #ctx: StreamContext
  readonly #stream: StreamContext['stream']
  readonly #messages: Messages<unknown>
  readonly #options: PumpOptions

  #running = 0
  #reading: Promise<void> | undefined
  #failure: Error | undefined
  #leaving = false
  #over = false
  #waiting: (() => void)[] = []

  /**
   * @throws `ERR_CIO_NO_MESSAGES` (local): no codec is registered before its middleware
   * @throws `ERR_CIO_OPTION` (local): an option is unknown
   */
  constructor(ctx: StreamContext & MessagesContext<unknown>, options: PumpOptions) {
    checkOptionNames(`the Pump of ${options.owner}`, options, optionNames)
    this.#ctx = ctx
    this.#stream = ctx.stream
    this.#messages = ctx.messages
    this.#options = options
  }

  /**
   * Whether no new work may begin, because the connection drains or the inner middleware have
   * returned.
   */
  get leaving(): boolean {
    return this.#leaving || this.#ctx.isDraining
  }

  /** Begins to read; does nothing when called again. */
  readonly start = (): void => {
    if (this.#reading || this.#over) return
    // At the end of the pipeline Cio discards input that has no reader, and closes if nothing
    // listens for `end`. `ctx.messages` lets the stream flow on demand.
    for (const event of events) this.#stream.on(event, this.wake)
    this.#stream.pause()
    this.#stream.once('close', this.#closed)
    this.#reading = this.#read()
  }

  /** Runs the inner middleware, and then waits for the pending work. */
  async run(next: Next): Promise<void> {
    this.#stream.once('resume', this.start)
    try {
      await next()
      this.#leaving = true
      while (this.#reading && this.#busy) await this.#change()
    } catch (thrown) {
      this.#stream.destroy()
      await this.#idle()
      throw this.#failure ?? thrown
    } finally {
      this.#over = true
      this.#stream.off('resume', this.start)
      this.#stream.off('resume', this.#leave)
      this.#detach()
      this.#options.ended?.()
    }
    if (this.#failure) throw this.#failure
  }

  /** Sends a message as `ctx.messages` does. */
  send(message: unknown): Promise<void> {
    return this.#messages.send(message)
  }

  /** Fulfils when you may send more; undefined if you may at once. */
  drained(): Promise<void> | undefined {
    return this.#messages.drained()
  }

  /** Whether the stream takes more output: it is neither closed nor ended. */
  get isWritable(): boolean {
    return this.#stream.writable
  }

  /** How many bytes were decoded. */
  get bytesRead(): number {
    return this.#messages.bytesRead
  }

  /** The error of encoding a message; undefined if it can be encoded. */
  encodeError(message: unknown): Error | undefined {
    return this.#messages.encodeError(message)
  }

  /** Counts a piece of work that begins. */
  begin(): void {
    this.#running += 1
  }

  /** Counts a piece of work that is done. */
  end(): void {
    this.#running -= 1
    this.wake()
  }

  /** Counts a promise as a piece of work. Its rejection ends the connection. */
  track(work: PromiseLike<unknown>): void {
    // A message that was sent at once. Many listeners return what `emit()` returned.
    if (work === nothing) return
    this.begin()
    work.then(
      () => this.end(),
      (thrown: unknown) => {
        this.fail(asError(thrown))
        this.end()
      },
    )
  }

  /** Fulfils when there is capacity for more work; undefined if there is some now. */
  capacity(): Promise<void> | undefined {
    return this.#hasCapacity ? undefined : this.#vacant()
  }

  /** Checks again whether there is anything left to wait for. */
  readonly wake = (): void => {
    if (this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  /** Ends the connection with an error, unless the error is a consequence of the end. */
  fail(error: Error): void {
    if (this.#failure || this.#over) return
    if (this.#stream.destroyed && isCioError(error, 'ERR_CIO_CLOSED')) return
    this.#failure = error
    this.#leaving = true
    const { lastMessage, ended } = this.#options
    const last = lastMessage?.(error)
    if (last === undefined) {
      // A local fault is the cause of the end, even if other code sees its consequence first.
      if (isCioError(error) && error.fault === 'remote') this.#stream.destroy()
      else this.#ctx.destroy(error)
      return
    }
    ended?.()
    this.#detach()
    void this.send(last)
    void endGracefully(this.#stream, farewellTimeout)
  }

  get #hasCapacity(): boolean {
    const { maxRunning, readsOn } = this.#options
    return this.#running < maxRunning || (readsOn?.() ?? false)
  }

  get #busy(): boolean {
    return this.#running > 0 || (this.#options.expects?.() ?? false)
  }

  /** Whether an answer can still arrive. */
  get #mayCome(): boolean {
    return !this.#stream.readableEnded && !this.#stream.destroyed
  }

  async #read(): Promise<void> {
    try {
      do {
        await this.#messages.each(this.#take, this.#options.owner)
        // While draining, the loop ends early, and pending work may still wait for an answer.
      } while (this.#mayCome && this.#busy && (await this.#arrival()))
    } catch (thrown) {
      this.fail(asError(thrown))
    }
    this.#options.ended?.()
    this.wake()
    await this.#idle()
    if (this.#over || this.#failure) return
    this.#detach()
    if (this.#stream.readableEnded || this.#ctx.kind !== 'connection') return
    // Nothing else ends a connection that waits at the end of its pipeline. close() has a deadline.
    if (this.#ctx.wasReady) this.#leave()
    else this.#stream.once('resume', this.#leave)
  }

  readonly #take = (message: unknown): unknown => {
    if (this.#failure || this.#over) return undefined
    const waiting = this.#options.take(message)
    return waiting !== undefined && isPromise(waiting) ? waiting : this.capacity()
  }

  async #vacant(): Promise<void> {
    while (!this.#hasCapacity) await this.#change()
  }

  async #idle(): Promise<void> {
    while (this.#running > 0) await this.#change()
  }

  /** Waits for bytes without taking them. */
  async #arrival(): Promise<true> {
    const stream = this.#stream
    const arrived = (): void => {
      // Node emits `end` only after everything was read.
      if (stream.readableLength === 0) stream.read(0)
      this.wake()
    }
    stream.on('readable', arrived)
    await this.#change()
    stream.off('readable', arrived)
    return true
  }

  #change(): Promise<true> {
    return new Promise((resolve) => this.#waiting.push(() => resolve(true)))
  }

  readonly #leave = (): void => void endGracefully(this.#stream, Infinity)

  readonly #closed = (): void => {
    this.#options.closed?.()
    this.wake()
  }

  /** Waiting for the end of input waits for these listeners to be removed. */
  #detach(): void {
    if (!this.#reading) return
    this.#messages.release()
    for (const event of events) this.#stream.off(event, this.wake)
  }
}
