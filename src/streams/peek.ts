/** Peeks at the first bytes of a stream, and puts them back. */

import type { Duplex } from 'node:stream'
import { GrowingBuffer } from './growing-buffer.ts'
import { hasInputEnded } from './reading.ts'

/** The bounds of a {@link Peek}. */
export interface PeekOptions {
  /** Maximum number of bytes to look at. */
  readonly maxSize: number
  /**
   * Milliseconds from the first wait, after which `Peek` stops waiting. `Infinity` waits for ever.
   */
  readonly timeout: number
}

/**
 * The first bytes of a stream, as they arrive. No byte is lost: `release()` puts all of them back,
 * and the stream is as before. At a bound it does so by itself, and reads nothing more. `Peek` is not
 * a layer on the stream.
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
  #ended = false
  #listening = false
  #released = false
  #timer: NodeJS.Timeout | undefined
  #waiting: ((more: boolean) => void) | undefined

  constructor(stream: Duplex, { maxSize, timeout }: PeekOptions) {
    this.#stream = stream
    this.#maxSize = maxSize
    this.#timeout = timeout
  }

  /** The bytes received so far. */
  get bytes(): Buffer {
    return this.#bytes.bytes
  }

  /** Whether no more bytes will come: the input ended, or the bound in time or bytes is reached. */
  get isOver(): boolean {
    return this.#over
  }

  /** Whether the input has ended, so that `bytes` are all that the other side sent. */
  get hasEnded(): boolean {
    return this.#ended
  }

  /** Waits for more bytes; false if there will be none. Call it once at a time. */
  more(): Promise<boolean> {
    if (this.#stream.readableEnded) this.#ended = true
    if (this.#ended || this.#stream.destroyed) this.#over = true
    if (this.#over) return Promise.resolve(false)
    return new Promise((resolve) => {
      this.#waiting = resolve
      if (!this.#listening) this.#listen()
    })
  }

  /** Puts the bytes back, and releases the stream. May be called again. */
  readonly release = (): void => {
    if (this.#released) return
    this.#released = this.#over = true
    clearTimeout(this.#timer)
    const stream = this.#stream
    if (this.#listening) {
      stream.off('readable', this.#read)
      stream.off('close', this.release)
    }
    if (this.#bytes.length > 0 && !stream.destroyed) stream.unshift(this.bytes)
    this.#answer(false)
  }

  #listen(): void {
    this.#listening = true
    if (this.#timeout < Infinity) this.#timer = setTimeout(this.release, this.#timeout)
    this.#stream.on('readable', this.#read)
    this.#stream.on('close', this.release)
  }

  readonly #read = (): void => {
    const stream = this.#stream
    const before = this.#bytes.length
    // Newer versions of Node return one chunk at a time, and some streams have a next one at once.
    for (
      let piece;
      this.#bytes.length < this.#maxSize && (piece = stream.read() as Buffer | null);
    ) {
      if (this.#bytes.length === 0) this.#bytes = new GrowingBuffer(piece)
      else this.#bytes.append(piece)
    }
    this.#ended = hasInputEnded(stream) && stream.readableLength === 0
    // Put back at once: before the stream emits `end`, since afterwards that is impossible, and at the
    // bound, since otherwise it would read on while the application awaits something else.
    if (this.#ended || this.#bytes.length >= this.#maxSize) return this.release()
    if (this.#bytes.length > before) this.#answer(true)
  }

  #answer(more: boolean): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.(more)
  }
}
