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
 * and the stream is as before. `Peek` is not a layer on the stream.
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
    if (this.#released || this.#ended || this.#stream.destroyed) this.#over = true
    if (this.#over) return Promise.resolve(false)
    return new Promise((resolve) => {
      this.#waiting = resolve
      if (!this.#listening) this.#listen()
    })
  }

  /** Puts the bytes back, and releases the stream. May be called again. */
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
    // Newer versions of Node return one chunk at a time.
    for (let piece; (piece = this.#stream.read() as Buffer | null);) {
      if (this.#bytes.length === 0) this.#bytes = new GrowingBuffer(piece)
      else this.#bytes.append(piece)
    }
    // Put back before the stream emits `end`; afterwards that is impossible.
    if (hasInputEnded(this.#stream)) {
      this.#ended = true
      return this.release()
    }
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
