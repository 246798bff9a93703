/** Looking at the first bytes of a stream, and putting them back. */

import type { Duplex, Readable } from 'node:stream'
import { GrowingBuffer } from './growing-buffer.ts'

/** What bounds a {@link Peek}. */
export interface PeekOptions {
  /** Bytes that are looked at, at most. */
  readonly maxSize: number
  /** Milliseconds from the first wait until there is none any more. `Infinity` waits for ever. */
  readonly timeout: number
}

/**
 * The first bytes of a stream, as they come. Nothing is lost by it: `release()` puts all of them back,
 * and the stream is as if nobody had looked. It never stands in between.
 *
 * @example
 * import { Cio } from 'cio'
 * import { Peek } from 'cio/kit'
 *
 * const app = new Cio().useConnection(async function impatient(ctx, next) {
 *   const peek = new Peek(ctx.stream, { maxSize: 1, timeout: 1_000 })
 *   const spoke = await peek.more()
 *   peek.release()
 *   if (spoke) await next()
 * })
 */
export class Peek {
  readonly #stream: Duplex
  readonly #maxSize: number
  readonly #timeout: number
  #bytes = new GrowingBuffer()
  #over = false
  #listening = false
  #released = false
  #timer: NodeJS.Timeout | undefined
  #waiting: ((more: boolean) => void) | undefined

  constructor(stream: Duplex, { maxSize, timeout }: PeekOptions) {
    this.#stream = stream
    this.#maxSize = maxSize
    this.#timeout = timeout
  }

  /** What has come so far. */
  get bytes(): Buffer {
    return this.#bytes.bytes
  }

  /** Whether there will be no more: the input has ended, the time or the bytes are used up. */
  get isOver(): boolean {
    return this.#over
  }

  /** Waits for more bytes; false if there will be none. One at a time. */
  more(): Promise<boolean> {
    if (this.#released || this.#stream.readableEnded || this.#stream.destroyed) this.#over = true
    if (this.#over) return Promise.resolve(false)
    return new Promise((resolve) => {
      this.#waiting = resolve
      if (!this.#listening) this.#listen()
    })
  }

  /** Puts back what has come, and lets go of the stream. May be called again. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.#finish()
    const stream = this.#stream
    if (this.#listening) {
      stream.off('readable', this.#read)
      stream.off('close', this.#finish)
    }
    if (this.#bytes.length > 0 && !stream.destroyed) stream.unshift(this.bytes)
  }

  #listen(): void {
    this.#listening = true
    if (this.#timeout < Infinity) this.#timer = setTimeout(this.#finish, this.#timeout)
    this.#stream.on('readable', this.#read)
    this.#stream.on('close', this.#finish)
  }

  readonly #read = (): void => {
    const before = this.#bytes.length
    // Newer Node hands out one piece at a time.
    for (let piece; (piece = this.#stream.read() as Buffer | null);) {
      if (this.#bytes.length === 0) this.#bytes = new GrowingBuffer(piece)
      else this.#bytes.append(piece)
    }
    // Put back before it has told of its end, after which nothing can be.
    if (hasEnded(this.#stream)) return this.release()
    if (this.#bytes.length >= this.#maxSize) return this.#finish()
    if (this.#bytes.length > before) this.#answer(true)
  }

  readonly #finish = (): void => {
    this.#over = true
    clearTimeout(this.#timer)
    this.#answer(false)
  }

  #answer(more: boolean): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.(more)
  }
}

/** Whether the end of input has come, which a stream tells only once all before it was read. */
function hasEnded(stream: Readable): boolean {
  const { _readableState: state } = stream as unknown as { _readableState?: { ended?: boolean } }
  return state?.ended ?? false
}
