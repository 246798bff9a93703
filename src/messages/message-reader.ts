/** Receiving: chunks are decoded in batches, when somebody waits for a message. */

import { asError } from '../errors.ts'
import { withSender } from './frame-decoder.ts'
import type { Decoder } from './messages.ts'
import { hasUnreadEnd } from '../stream-life.ts'
import { closedError } from './message-writer.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/**
 * The messages of one connection that have been decoded and not taken.
 *
 * The stream flows while somebody waits. A chunk that comes when nobody does is put back, so at
 * most one chunk at a time has been decoded ahead, and TCP holds back the peer.
 */
export class MessageReader<In> {
  readonly #ctx: StreamContext
  #stream: StreamContext['stream']
  readonly #decoder: Decoder<In>
  #batch: In[] = []
  #at = 0
  #failure: Error | undefined
  #over = false
  #listening = false
  #pulling = false
  /** Those who wait, to be called in their order once there is a message, or will be none. */
  #waiting: ((some: boolean) => void)[] = []

  constructor(ctx: StreamContext, decoder: Decoder<In>) {
    this.#ctx = ctx
    this.#stream = ctx.stream
    this.#decoder = decoder
  }

  /** How many messages can be taken without waiting. */
  get ready(): number {
    return this.#batch.length - this.#at
  }

  /** Whether something has come that nobody has taken, a message or a part of one. */
  get hasMore(): boolean {
    return this.ready > 0 || this.#decoder.remainder.length > 0
  }

  /** Whether others wait already. */
  get isAwaited(): boolean {
    return this.#waiting.length > 0
  }

  /** The next message; only where `ready` says that there is one. */
  take(): In {
    return this.#batch[this.#at++]!
  }

  /** Why there will be no message, where `wait` has called and there is none. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** Calls, at once or later, with true when there is a message, with false if there will be none. */
  wait(call: (some: boolean) => void): void {
    this.#waiting.push(call)
    if (this.#waiting.length > 1 || this.#flows) return
    this.#pull()
  }

  /** Stops listening to the stream. */
  release(): void {
    if (!this.#listening) return
    const stream = this.#stream
    this.#listening = false
    stream.off('data', this.#data)
    stream.off('end', this.#end)
    stream.off('close', this.#pull)
    this.#ctx.draining.removeEventListener('abort', this.#idle)
    stream.pause()
  }

  /**
   * Ends it: whoever waits, or comes later, gets what has been decoded, and then the end, or that
   * the connection is closed.
   */
  close(): void {
    this.release()
    if (!this.#over && hasUnreadEnd(this.#stream)) {
      // Kept for a later reader: no more than the stream has read ahead.
      this.#decode(this.#read())
      this.#end()
    }
    if (!this.#over) {
      this.#over = true
      const isEnd = this.#stream.readableEnded || this.#ctx.isDraining
      this.#failure = isEnd ? undefined : closedError(this.#ctx)
    }
    this.#serve()
  }

  /** Reads from another stream from now on. */
  moveTo(stream: StreamContext['stream']): void {
    this.release()
    this.#stream = stream
  }

  /** Whether what there is comes by itself: the ordinary case, so it is asked first. */
  get #flows(): boolean {
    const stream = this.#stream
    return (
      this.#listening &&
      this.ready === 0 &&
      !this.#over &&
      stream.readableFlowing === true &&
      !stream.destroyed &&
      !this.#ctx.isDraining
    )
  }

  /** Serves those who wait, from what is there; lets the stream flow for those who are left. */
  readonly #pull = (): void => {
    this.#serve()
    const stream = this.#stream
    while (this.#waiting.length > 0) {
      if (stream.readableEnded) this.#end()
      else if (stream.readableLength > 0) this.#decode(this.#read())
      else if (stream.destroyed) this.#decode(null)
      else {
        this.#idle()
        if (this.#waiting.length > 0) this.#flow()
        return
      }
    }
  }

  #serve(): void {
    while (this.#waiting.length > 0 && (this.ready > 0 || this.#over)) {
      this.#waiting.shift()!(this.ready > 0)
    }
  }

  /** What the stream holds already. It tells of it by `data` too. */
  #read(): Buffer | null {
    this.#pulling = true
    const chunk = this.#stream.read() as Buffer | null
    this.#pulling = false
    return chunk
  }

  #flow(): void {
    const stream = this.#stream
    if (!this.#listening) {
      this.#listening = true
      stream.on('data', this.#data)
      stream.on('end', this.#end)
      stream.on('close', this.#pull)
      this.#ctx.draining.addEventListener('abort', this.#idle)
    }
    if (!stream.readableFlowing) stream.resume()
  }

  readonly #data = (chunk: Buffer): void => {
    if (this.#pulling) return
    if (this.#waiting.length > 0) return this.#decode(chunk)
    this.#stream.pause()
    this.#stream.unshift(chunk)
  }

  readonly #end = (): void => {
    if (this.#over) return
    this.#over = true
    this.#decode(undefined)
    // Those who end the connection wait for who could still answer to go, and look after this turn.
    if (this.#listening) setImmediate(() => this.release())
  }

  /** While draining, between messages is the end. */
  readonly #idle = (): void => {
    if (!this.#ctx.isDraining || this.ready > 0 || this.#decoder.remainder.length > 0) return
    for (const call of this.#waiting.splice(0)) call(false)
  }

  /** Decodes a chunk, or the end of input; null is what a stream has that was cut off. */
  #decode(chunk: Buffer | null | undefined): void {
    if (this.ready === 0) {
      this.#batch = []
      this.#at = 0
    }
    try {
      if (chunk === null) throw closedError(this.#ctx)
      if (chunk) this.#decoder.decode(chunk, this.#batch)
      else this.#decoder.end(this.#batch)
    } catch (error) {
      this.#over = true
      this.#failure = withSender(asError(error), this.#ctx.remote)
    }
    this.#serve()
    if (!this.#over) this.#idle()
  }
}
