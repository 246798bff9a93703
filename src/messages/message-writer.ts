/** Sending: gathered, bounded, and with a promise where it has to wait. */

import type { Duplex } from 'node:stream'
import { CioError } from '../errors.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { handled, refused, unawaited } from '../lifecycle/unawaited.ts'

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
 * The strings that were sent on a stream in one turn of the event loop, for one write.
 *
 * Node's own `cork()` makes an object and a queue entry of each. There is one of these for each
 * stream, whichever codec writes to it.
 */
class Gathered {
  static readonly #byStream = new WeakMap<Duplex, Gathered>()
  text = ''
  readonly #stream: Duplex
  readonly #write: Duplex['write']

  /** That of a stream. */
  static of(stream: Duplex): Gathered {
    let gathered = Gathered.#byStream.get(stream)
    if (!gathered) Gathered.#byStream.set(stream, (gathered = new Gathered(stream)))
    return gathered
  }

  private constructor(stream: Duplex) {
    this.#stream = stream
    this.#write = stream.write.bind(stream)
    const end = stream.end.bind(stream) as (...given: unknown[]) => Duplex
    // Whatever else is written to the stream in this turn, or ends it, comes after.
    Object.assign(stream, {
      write: (...given: Parameters<Duplex['write']>) => {
        this.flush()
        return this.#write(...given)
      },
      end: (...given: unknown[]) => {
        this.flush()
        return end(...given)
      },
    })
  }

  flush(): void {
    if (this.text === '') return
    const { text } = this
    this.text = ''
    // It was destroyed in this turn.
    if (this.#stream.writable) this.#write(text)
  }
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
  #gathered: Gathered | undefined
  #scheduled = false
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
  drained(): Promise<void> | undefined {
    return !this.#stream.destroyed && !this.#hasRoom ? this.#drained() : undefined
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
    this.#scheduled = false
    this.#gathered?.flush()
    if (!this.#corked) return
    this.#corked = false
    this.#stream.uncork()
  }

  /** Writes to another stream from now on. */
  moveTo(stream: StreamContext['stream']): void {
    this.flush()
    this.#stream = stream
    this.#gathered = undefined
    this.#drain = undefined
  }

  /** Bytes that wait to be sent; of the strings of this turn, the characters. */
  get #waiting(): number {
    return this.#stream.writableLength + (this.#gathered?.text.length ?? 0)
  }

  get #hasRoom(): boolean {
    return this.#waiting < this.#stream.writableHighWaterMark
  }

  /** Whether it may be followed by more at once. */
  #write(message: Out): boolean {
    const stream = this.#stream
    if (!stream.writable) throw closedError(this.#ctx)
    // Before it is encoded: a codec may keep count of what the peer has been told.
    if (this.#waiting > this.#maxQueueSize) {
      throw new CioError(
        'ERR_CIO_QUEUE_SIZE',
        `${this.#waiting} bytes wait to be sent to ${this.#ctx.remote}, more than \`maxQueueSize\`; await send() before the next`,
      )
    }
    const bytes = this.#encode(message)
    if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(this.flush)
    }
    if (typeof bytes === 'string') {
      const gathered = (this.#gathered ??= Gathered.of(stream))
      gathered.text += bytes
    } else {
      if (!this.#corked) stream.cork()
      this.#corked = true
      stream.write(bytes)
    }
    if (this.#hasRoom) return true
    this.flush()
    // The kernel may have taken it all.
    return this.#hasRoom
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
