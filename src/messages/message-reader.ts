/** Receives messages: chunks are decoded in batches, when a reader waits for a message. */

import { asError } from '../errors.ts'
import { putBack } from '../streams/put-back.ts'
import { withSender } from './frame-decoder.ts'
import type { Decoder } from './codec.ts'
import { hasUnreadEnd } from '../streams/reading.ts'
import { closedError } from './message-writer.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/**
 * The decoded messages of one connection that no reader has taken yet.
 *
 * The stream flows while a reader waits. A chunk that arrives without a waiting reader is put back.
 * So at most one chunk is decoded ahead, and TCP backpressure slows the peer.
 */
export class MessageReader<In> {
  readonly #ctx: StreamContext
  #stream: StreamContext['stream']
  readonly #decoder: Decoder<In>
  #batch: In[] = []
  #at = 0
  #failure: Error | undefined
  #over = false
  #bytesRead = 0
  #listening = false
  #pulling = false
  /** Waiting readers, called in order when a message or the end is there. */
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

  /** How many bytes were passed to the decoder. */
  get bytesRead(): number {
    return this.#bytesRead
  }

  /** Whether there is unread input: a message or a part of one. */
  get hasMore(): boolean {
    return this.ready > 0 || this.#decoder.remainder.length > 0
  }

  /** Whether other readers wait already. */
  get isAwaited(): boolean {
    return this.#waiting.length > 0
  }

  /** The next message; call it only if `ready` is above 0. */
  take(): In {
    return this.#batch[this.#at++]!
  }

  /** Why there will be no message, after `wait` has called back with false. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /**
   * Calls back, at once or later: with true when there is a message, with false if there will be
   * none.
   */
  wait(call: (some: boolean) => void): void {
    this.#waiting.push(call)
    if (this.#waiting.length > 1 || this.#flows) return
    this.#pull()
  }

  /**
   * As `wait`, but before all other readers: for a reader that was called back and did not take a
   * message.
   */
  waitFirst(call: (some: boolean) => void): void {
    this.#waiting.unshift(call)
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
   * Ends reading: current and later readers get the decoded messages, and then the end or the error
   * of a closed connection.
   */
  close(): void {
    this.release()
    if (!this.#over && hasUnreadEnd(this.#stream)) {
      // Kept for a later reader. It is no more than the stream had read ahead.
      this.#decode(this.#read())
      this.#end()
    }
    if (!this.#over) {
      this.#over = true
      const isEnd = this.#stream.readableEnded || this.#ctx.isDraining
      this.#failure = isEnd ? undefined : closedError(this.#ctx)
    }
    this.#decoder.close?.()
    this.#serve()
  }

  /** Switches to another stream. */
  moveTo(stream: StreamContext['stream']): void {
    this.release()
    this.#stream = stream
  }

  /** Whether the stream flows: the common case, so it is checked first. */
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

  /** Serves waiting readers from the decoded messages; lets the stream flow for the rest. */
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

  /** Reads the stream's buffered input; the stream also emits `data` for it. */
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
    putBack(this.#stream, chunk)
  }

  readonly #end = (): void => {
    if (this.#over) return
    this.#over = true
    this.#decode(undefined)
    // The end of the connection waits for listeners that could still answer to be removed, and
    // checks after this turn.
    if (this.#listening) setImmediate(() => this.release())
  }

  /** While draining, the loop ends between messages. */
  readonly #idle = (): void => {
    if (!this.#ctx.isDraining || this.ready > 0 || this.#decoder.remainder.length > 0) return
    for (const call of this.#waiting.splice(0)) call(false)
  }

  /** Decodes a chunk, or the end of input; a destroyed stream has null. */
  #decode(chunk: Buffer | null | undefined): void {
    if (this.ready === 0) {
      this.#batch = []
      this.#at = 0
    }
    try {
      if (chunk === null) throw closedError(this.#ctx)
      if (chunk) {
        this.#bytesRead += chunk.length
        this.#decoder.decode(chunk, this.#batch)
      } else {
        this.#decoder.end(this.#batch)
      }
    } catch (error) {
      this.#over = true
      this.#failure = withSender(asError(error), this.#ctx.remote)
    }
    this.#serve()
    if (!this.#over) this.#idle()
  }
}
