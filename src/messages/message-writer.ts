/** Sends messages: batched, bounded, and with a promise if the caller must wait. */

import { CioError } from '../errors.ts'
import { meaning } from '../lifecycle/closed-errors.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { handled, refused, unawaited } from '../lifecycle/unawaited.ts'
import { Gathered } from './gathered.ts'

/** The promise of a send that need not wait; always the same object, so that it can be compared. */
export const nothing: Promise<void> = Promise.resolve()

/** The error of using a closed connection. */
export function closedError(ctx: StreamContext): CioError {
  const message = `the connection with ${ctx.remote} is closed`
  const { broken: cause } = ctx
  return meaning(new CioError('ERR_CIO_CLOSED', message, { fault: 'remote', cause }), ctx)
}

/** The error of sending after one's own `end()`: a fault of this program, and not of the other side. */
function sentAfterEnd(ctx: StreamContext): CioError {
  const message = `the connection with ${ctx.remote} takes no more messages, since \`ctx.messages.end()\` was called here`
  return new CioError('ERR_CIO_CLOSED', message)
}

/** The number of this turn of the event loop, while it lasts. */
let turn = 0
let isTurnKnown = false

function currentTurn(): number {
  if (!isTurnKnown) {
    isTurnKnown = true
    process.nextTick(endTurn)
  }
  return turn
}

function endTurn(): void {
  turn += 1
  isTurnKnown = false
}

/**
 * The outgoing messages of one connection.
 *
 * All messages of one turn of the event loop, microtasks included, go to the kernel in one write:
 * for many small messages the write is most of the cost.
 */
export class MessageWriter<Out> {
  readonly #ctx: StreamContext
  #stream: StreamContext['stream']
  readonly encode: (message: Out) => string | Uint8Array
  readonly #maxQueueSize: number
  /** Whether messages may be joined. On a carrier that keeps message borders they may not. */
  readonly #isJoined: boolean
  #gathered: Gathered | undefined
  #scheduled = false
  #corked = false
  /** The turn in which bytes were written at once. */
  #turn = -1
  #drain: Promise<void> | undefined
  #isEnded = false

  constructor(
    ctx: StreamContext,
    encode: (message: Out) => string | Uint8Array,
    maxQueueSize: number,
    isJoined = true,
  ) {
    this.#ctx = ctx
    this.#stream = ctx.stream
    this.encode = encode
    this.#maxQueueSize = maxQueueSize
    this.#isJoined = isJoined
  }

  /** As `Messages` has it. */
  send(message: Out): Promise<void> {
    try {
      return this.#write(message) ? nothing : this.#drained()
    } catch (error) {
      return refused(this.#ctx, error)
    }
  }

  /**
   * Sends bytes that the encoder of this connection could have returned.
   *
   * The first bytes of a turn are written at once: such bytes go to many connections, and a batch
   * of one message costs more than it saves.
   */
  sendBytes(bytes: string | Uint8Array): Promise<void> {
    try {
      this.#check()
      if (!this.#isJoined || this.#scheduled || this.#turn === turn) {
        return this.#put(bytes) ? nothing : this.#drained()
      }
      this.#turn = currentTurn()
      this.#stream.write(bytes)
      return this.#hasRoom ? nothing : this.#drained()
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
    return this.#hasRoom || this.#stream.destroyed ? undefined : this.#drained()
  }

  /** As `Messages` has it. */
  end(): Promise<void> {
    const stream = this.#stream
    if (stream.writableFinished) return Promise.resolve()
    if (stream.destroyed) return refused(this.#ctx, closedError(this.#ctx))
    this.#isEnded = true
    const ended = new Promise<void>((resolve, reject) => {
      stream.end((error?: Error | null) => (error ? reject(closedError(this.#ctx)) : resolve()))
    })
    return handled(ended)
  }

  /** Writes the batch to the stream. */
  readonly flush = (): void => {
    this.#scheduled = false
    this.#gathered?.flush()
    if (!this.#corked) return
    this.#corked = false
    this.#stream.uncork()
  }

  /** Switches to another stream. */
  moveTo(stream: StreamContext['stream']): void {
    this.flush()
    this.#stream = stream
    this.#gathered = undefined
    this.#drain = undefined
  }

  /** As `Messages` has it. */
  get isOpen(): boolean {
    return this.#stream.writable
  }

  /** Bytes waiting to be sent; for strings of this turn, characters. */
  get waiting(): number {
    return this.#stream.writableLength + (this.#gathered?.text.length ?? 0)
  }

  get #hasRoom(): boolean {
    return this.waiting < this.#stream.writableHighWaterMark
  }

  /** Whether more may be sent at once. */
  #write(message: Out): boolean {
    // Checked before encoding: an encoder may have state that the peer must share.
    this.#check()
    return this.#put(this.encode(message))
  }

  #check(): void {
    if (!this.isOpen) {
      const isOurs = this.#isEnded && !this.#stream.destroyed
      throw isOurs ? sentAfterEnd(this.#ctx) : closedError(this.#ctx)
    }
    if (this.waiting > this.#maxQueueSize) {
      throw new CioError(
        'ERR_CIO_QUEUE_SIZE',
        `${this.waiting} bytes wait to be sent to ${this.#ctx.remote}, more than \`maxQueueSize\`; await send() before the next`,
      )
    }
  }

  #put(bytes: string | Uint8Array): boolean {
    const stream = this.#stream
    if (!this.#isJoined) {
      stream.write(bytes)
      return this.#hasRoom
    }
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
    // The kernel may have accepted everything.
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
