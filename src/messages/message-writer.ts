/** Sending: gathered, bounded, and with a promise where it has to wait. */

import { CioError } from '../errors.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { handled, refused, unawaited } from '../unawaited.ts'

/** What a send fulfils with that has to wait for nothing; always the same, so that it is known. */
export const nothing: Promise<void> = Promise.resolve()

/** The error of who uses a connection that is gone. */
export function closedError(ctx: StreamContext): CioError {
  return new CioError('ERR_CIO_CLOSED', `the connection with ${ctx.remote} is closed`, {
    fault: 'remote',
    cause: ctx.broken,
  })
}

/**
 * What is sent on one connection.
 *
 * What is sent in one turn of the event loop, microtasks included, goes to the kernel in one write:
 * for many small messages that is most of the cost.
 */
export class MessageWriter<Out> {
  readonly #ctx: StreamContext
  #stream: StreamContext['stream']
  readonly #encode: (message: Out) => string | Uint8Array
  readonly #maxQueueSize: number
  #corked = false
  #drain: Promise<void> | undefined

  constructor(
    ctx: StreamContext,
    encode: (message: Out) => string | Uint8Array,
    maxQueueSize: number,
  ) {
    this.#ctx = ctx
    this.#stream = ctx.stream
    this.#encode = encode
    this.#maxQueueSize = maxQueueSize
  }

  /** As `Messages` has it. */
  send(message: Out): Promise<void> {
    try {
      return this.#write(message) ? nothing : this.#drained()
    } catch (error) {
      return refused(this.#ctx, error)
    }
  }

  /** As `Messages` has it. */
  sendMany(messages: Iterable<Out>): Promise<void> {
    return unawaited(this.#ctx, this.#writeMany(messages))
  }

  async #writeMany(messages: Iterable<Out>): Promise<void> {
    for (const message of messages) {
      if (!this.#write(message)) await this.#drained()
    }
  }

  /** As `Messages` has it. */
  end(): Promise<void> {
    const stream = this.#stream
    if (stream.writableFinished) return Promise.resolve()
    if (stream.destroyed) return refused(this.#ctx, closedError(this.#ctx))
    const ended = new Promise<void>((resolve, reject) => {
      stream.end((error?: Error | null) => (error ? reject(closedError(this.#ctx)) : resolve()))
    })
    return handled(ended)
  }

  /** Hands over to the stream what was gathered. */
  readonly flush = (): void => {
    if (!this.#corked) return
    this.#corked = false
    this.#stream.uncork()
  }

  /** Writes to another stream from now on. */
  moveTo(stream: StreamContext['stream']): void {
    this.flush()
    this.#stream = stream
    this.#drain = undefined
  }

  /** Whether it may be followed by more at once. */
  #write(message: Out): boolean {
    const stream = this.#stream
    if (!stream.writable) throw closedError(this.#ctx)
    // Before it is encoded: a codec may keep count of what the peer has been told.
    if (stream.writableLength > this.#maxQueueSize) {
      throw new CioError(
        'ERR_CIO_QUEUE_SIZE',
        `${stream.writableLength} bytes wait to be sent to ${this.#ctx.remote}, more than \`maxQueueSize\`; await send() before the next`,
      )
    }
    const bytes = this.#encode(message)
    if (!this.#corked) {
      this.#corked = true
      stream.cork()
      process.nextTick(this.flush)
    }
    if (stream.write(bytes)) return true
    this.flush()
    // The kernel may have taken it all.
    return stream.writableLength < stream.writableHighWaterMark
  }

  #drained(): Promise<void> {
    if (this.#drain) return this.#drain
    const stream = this.#stream
    const drain = new Promise<void>((resolve, reject) => {
      const settle = (): void => {
        stream.off('drain', settle)
        stream.off('close', settle)
        if (this.#drain === drain) this.#drain = undefined
        if (stream.destroyed) reject(closedError(this.#ctx))
        else resolve()
      }
      stream.on('drain', settle)
      stream.on('close', settle)
    })
    return (this.#drain = handled(drain))
  }
}
