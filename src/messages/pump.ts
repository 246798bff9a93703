/** Reading beside what is inside: messages go to a handler while the pipeline runs on. */

import { isPromise } from 'node:util/types'
import { asError, isCioError } from '../errors.ts'
import { endGracefully } from '../streams/end-gracefully.ts'
import type { Messages, MessagesContext } from './messages.ts'
import type { Next } from '../pipeline/middleware.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** What a {@link Pump} does with a connection. */
export interface PumpOptions {
  /** The name of the middleware, for errors. */
  readonly owner: string
  /** Takes one message; the next waits for its promise. What it throws ends the connection. */
  readonly take: (message: unknown) => unknown
  /** How much may be at work at once; nothing more is read until some of it is done. */
  readonly maxRunning: number
  /** Whether an answer is awaited: then it reads on while draining. Without it, none ever is. */
  readonly expects?: () => boolean
  /** Called when nothing more will be read, perhaps more than once. Without it, nobody is told. */
  readonly ended?: () => void
  /** Called when the stream has closed, once. Without it, nobody is told. */
  readonly closed?: () => void
  /** What to send before the connection is destroyed; undefined, or without it, nothing. */
  readonly lastMessage?: (error: Error) => unknown
}

const farewellTimeout = 1_000
const events = ['data', 'end', 'close'] as const

/**
 * Hands the messages of a connection to a function, beside what is inside: for middleware that make
 * something else of them, as `events` and `rpc` do.
 *
 * It begins with `start()`, or when the far end finds nobody who reads. While draining it stops
 * between messages, and ends the stream. When the input has ended, or what is inside has returned,
 * it waits for what is still at work.
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

  /** @throws `ERR_CIO_NO_MESSAGES` (local): no codec stands before its middleware */
  constructor(ctx: StreamContext & MessagesContext<unknown>, options: PumpOptions) {
    this.#ctx = ctx
    this.#stream = ctx.stream
    this.#messages = ctx.messages
    this.#options = options
  }

  /** Whether no new work is to be begun: it is draining, or what is inside has returned. */
  get leaving(): boolean {
    return this.#leaving || this.#ctx.isDraining
  }

  /** Begins to read; does nothing when called again. */
  readonly start = (): void => {
    if (this.#reading || this.#over) return
    // The far end throws away what nobody waits for, and does not wait where nobody hears the end.
    // The messages let the stream flow when they are asked for.
    for (const event of events) this.#stream.on(event, this.#heard)
    this.#stream.pause()
    this.#stream.once('close', this.#closed)
    this.#reading = this.#read()
  }

  /** Runs what is inside, and then waits for what is at work. */
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

  /** Fulfils when more may be sent; undefined if it may at once. */
  drained(): Promise<void> | undefined {
    return this.#messages.drained()
  }

  /** Why a message has no form in the codec; undefined if it has one. */
  encodeError(message: unknown): Error | undefined {
    return this.#messages.encodeError(message)
  }

  /** Says that a piece of work has begun. */
  begin(): void {
    this.#running += 1
  }

  /** Says that a piece of work is done. */
  end(): void {
    this.#running -= 1
    if (this.#waiting.length > 0) this.wake()
  }

  /** Counts a promise as a piece of work. Its rejection ends the connection. */
  track(work: PromiseLike<unknown>): void {
    this.begin()
    work.then(
      () => this.end(),
      (thrown: unknown) => {
        this.fail(asError(thrown))
        this.end()
      },
    )
  }

  /** Fulfils when there is room for more work; undefined if there is. */
  capacity(): Promise<void> | undefined {
    return this.#running < this.#options.maxRunning ? undefined : this.#vacant()
  }

  /** Looks again whether anything is left to wait for. */
  readonly wake = (): void => {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  /** Ends the connection with an error, unless it is the consequence of its being gone. */
  fail(error: Error): void {
    if (this.#failure || this.#over) return
    if (this.#stream.destroyed && isCioError(error, 'ERR_CIO_CLOSED')) return
    this.#failure = error
    this.#leaving = true
    const { lastMessage, ended } = this.#options
    const last = lastMessage?.(error)
    if (last === undefined) {
      // A fault of ours is the cause of the end, whatever others see of it first.
      if (isCioError(error) && error.fault === 'remote') this.#stream.destroy()
      else this.#ctx.destroy(error)
      return
    }
    ended?.()
    this.#detach()
    void this.send(last)
    void endGracefully(this.#stream, farewellTimeout)
  }

  get #busy(): boolean {
    return this.#running > 0 || (this.#options.expects?.() ?? false)
  }

  /** Whether an answer can still come. */
  get #mayCome(): boolean {
    return !this.#stream.readableEnded && !this.#stream.destroyed
  }

  async #read(): Promise<void> {
    try {
      do {
        await this.#messages.each(this.#take, this.#options.owner)
        // While draining it returns early, and what is at work may wait for an answer.
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
    // Nobody else ends a connection that waits at its far end. close() has a deadline.
    if (this.#ctx.wasReady) this.#leave()
    else this.#stream.once('resume', this.#leave)
  }

  readonly #take = (message: unknown): unknown => {
    if (this.#failure || this.#over) return undefined
    const waiting = this.#options.take(message)
    return isPromise(waiting) ? waiting : this.capacity()
  }

  async #vacant(): Promise<void> {
    while (this.#running >= this.#options.maxRunning) await this.#change()
  }

  async #idle(): Promise<void> {
    while (this.#running > 0) await this.#change()
  }

  /** Waits for bytes without taking them. */
  async #arrival(): Promise<true> {
    const stream = this.#stream
    const arrived = (): void => {
      // Node tells of the end to who has read up to it.
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

  readonly #heard = (): void => {
    if (this.#waiting.length > 0) this.wake()
  }

  readonly #closed = (): void => {
    this.#options.closed?.()
    this.wake()
  }

  /** Those who wait for the end of input wait for these to go. */
  #detach(): void {
    if (!this.#reading) return
    this.#messages.release()
    for (const event of events) this.#stream.off(event, this.#heard)
  }
}
