/** Peeks at the first bytes of a stream, takes some of them, and puts the others back. */

import { isUtf8 } from 'node:buffer'
import type { Duplex } from 'node:stream'
import { nothingSaid } from '../connection-end.ts'
import { CioError } from '../errors.ts'
import { checkCount, checkDuration, checkOptionNames, optionError } from '../options.ts'
import { GrowingBuffer } from './growing-buffer.ts'
import { hasInputEnded, leaveUnread } from './reading.ts'

/** The bounds of a {@link Peek}. */
export interface PeekOptions {
  /**
   * Maximum bytes to look at, and to take with one call. `Peek` reads only while you await it, and
   * holds at most one chunk more.
   */
  readonly maxSize: number
  /**
   * Milliseconds from the first wait until `Peek` stops waiting: one limit for all waits together.
   * `Infinity` waits for ever.
   */
  readonly timeout: number
}

const lineFeed = 0x0a
const carriageReturn = 0x0d

/**
 * The first bytes of a stream, as they arrive. `take()` and `takeLine()` remove bytes; `release()`
 * puts all others back, so that TLS or a codec may read the stream next. `Peek` is not a layer on
 * the stream. Only one call may wait at a time.
 *
 * @example
 * import { Cio } from 'cio'
 * import { Peek } from 'cio/kit'
 *
 * const app = new Cio().useConnection(async function greeting(ctx, next) {
 *   const peek = new Peek(ctx.stream, { maxSize: 256, timeout: 5_000 })
 *   try {
 *     if ((await peek.takeLine()) !== 'HELLO') return
 *   } finally {
 *     peek.release()
 *   }
 *   await next()
 * })
 */
export class Peek {
  readonly #stream: Duplex
  readonly #maxSize: number
  readonly #timeout: number
  #bytes = new GrowingBuffer()
  #received = 0
  #isStopped = false
  #isLate = false
  #hasEnded = false
  #isListening = false
  #isReleased = false
  #isPutBack = false
  #timer: NodeJS.Timeout | undefined
  #waiting: ((more: boolean) => void) | undefined

  /** @throws `ERR_CIO_OPTION`: an option is unknown, missing or out of its range */
  constructor(stream: Duplex, options: PeekOptions) {
    checkOptionNames('Peek', options, ['maxSize', 'timeout'])
    const { maxSize, timeout } = options
    checkCount('Peek', 'maxSize', maxSize)
    checkDuration('Peek', 'timeout', timeout)
    this.#stream = stream
    this.#maxSize = maxSize
    this.#timeout = timeout
  }

  /** The bytes received so far, without those that were taken. */
  get bytes(): Buffer {
    return this.#bytes.bytes
  }

  /**
   * Whether no more bytes will come, because the input ended or `timeout` or `maxSize` is reached.
   * After `take()` there may be room again.
   */
  get isOver(): boolean {
    return this.#isStopped || this.#bytes.length >= this.#maxSize
  }

  /** Whether the input has ended, so that `bytes` are all that the other side sent. */
  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Waits for more bytes; false if there will be none. Call it once at a time. */
  more(): Promise<boolean> {
    if (this.#stream.readableEnded) this.#hasEnded = true
    if (this.#hasEnded || this.#stream.destroyed) this.#isStopped = true
    if (this.isOver) return Promise.resolve(false)
    return new Promise((resolve) => {
      this.#waiting = resolve
      // For bytes that came since the last wait, the stream has emitted `readable` already.
      if (this.#isListening) this.#read()
      else this.#listen()
    })
  }

  /**
   * Takes the next bytes off the stream, once all of them have arrived.
   *
   * @throws `ERR_CIO_NOTHING_SAID` (remote): the other side closed without a byte;
   *   `ERR_CIO_TRUNCATED` (remote): it closed before all of these bytes had arrived;
   *   `ERR_CIO_PEEK_TIMEOUT` (remote): `timeout` has passed; `ERR_CIO_OPTION`: `size` is less than
   *   1 or more than `maxSize`; `ERR_CIO_CLOSED`: after `release()`
   */
  async take(size: number): Promise<Buffer> {
    const maxSize = this.#maxSize
    if (!(Number.isInteger(size) && size >= 1 && size <= maxSize)) {
      throw optionError('Peek', 'size', `a whole number from 1 to \`maxSize\`, ${maxSize}`, size)
    }
    while (this.#bytes.length < size) await this.#need(`${size} bytes`)
    return this.#remove(size)
  }

  /**
   * Takes a line off the stream, and returns it without its end, which is a line feed or a carriage
   * return and a line feed. Bytes after the line stay in the stream.
   *
   * @throws `ERR_CIO_MESSAGE_TOO_LONG` (remote): the line and its end have more than `maxSize`
   *   bytes; `ERR_CIO_SYNTAX` (remote): it is not UTF-8; and as `take()`
   */
  async takeLine(): Promise<string> {
    const maxSize = this.#maxSize
    let searched = 0
    let end: number
    while ((end = this.bytes.subarray(0, maxSize).indexOf(lineFeed, searched)) === -1) {
      searched = this.#bytes.length
      if (searched >= maxSize) {
        throw remoteError('ERR_CIO_MESSAGE_TOO_LONG', `a line is longer than ${maxSize} bytes`)
      }
      await this.#need('a line')
    }
    const line = this.#remove(end + 1)
    if (!isUtf8(line)) throw remoteError('ERR_CIO_SYNTAX', 'a line is not UTF-8')
    return line.toString('utf8', 0, line[end - 1] === carriageReturn ? end - 1 : end)
  }

  /** Puts back what was not taken, and releases the stream. May be called again. */
  release(): void {
    this.#isReleased = true
    this.#stop()
    this.#putBack()
  }

  /** Waits for more bytes, or throws why there are none. */
  async #need(what: string): Promise<void> {
    if (this.#isReleased) throw releasedError()
    const before = this.#received
    // The last bytes before a bound or the end may be enough.
    if ((await this.more()) || this.#received > before) return
    if (this.#isReleased) throw releasedError()
    const { errored } = this.#stream
    if (this.#isLate) {
      const message = `${what} did not arrive within ${this.#timeout} ms`
      throw remoteError('ERR_CIO_PEEK_TIMEOUT', message)
    }
    if (this.#received === 0) throw nothingSaid('the other side', errored)
    const came = `${this.#bytes.length} bytes arrived`
    throw remoteError('ERR_CIO_TRUNCATED', `the input ended before ${what}: ${came}`, errored)
  }

  #remove(size: number): Buffer {
    if (this.#isReleased) throw releasedError()
    const { bytes } = this
    // At the end of input the bytes are back in the stream already.
    if (this.#isPutBack) this.#stream.read(size)
    this.#bytes = new GrowingBuffer(bytes.subarray(size))
    // A copy: a token that is kept must not keep its whole chunk in memory.
    return Buffer.from(bytes.subarray(0, size))
  }

  #listen(): void {
    this.#isListening = true
    if (this.#timeout < Infinity) this.#timer = setTimeout(this.#expire, this.#timeout)
    this.#stream.on('readable', this.#read)
    this.#stream.on('close', this.#stop)
  }

  readonly #read = (): void => {
    const stream = this.#stream
    const before = this.#received
    // Reads only on request and within the bound; otherwise backpressure slows the other side.
    // Newer versions of Node return one chunk at a time, and some streams have the next chunk at
    // once.
    let piece: Buffer | null
    while (
      this.#waiting &&
      this.#bytes.length < this.#maxSize &&
      (piece = stream.read() as Buffer | null)
    ) {
      this.#received += piece.length
      if (this.#bytes.length === 0) this.#bytes = new GrowingBuffer(piece)
      else this.#bytes.append(piece)
    }
    // Put back before the stream emits `end`; afterwards that is impossible.
    if (hasInputEnded(stream) && stream.readableLength === 0) {
      this.#hasEnded = true
      this.#putBack()
      return this.#stop()
    }
    if (this.#bytes.length >= this.#maxSize) return this.#answer(false)
    if (this.#received > before) this.#answer(true)
  }

  readonly #expire = (): void => {
    this.#isLate = true
    this.#stop()
  }

  readonly #stop = (): void => {
    this.#isStopped = true
    clearTimeout(this.#timer)
    this.#answer(false)
  }

  #putBack(): void {
    if (this.#isPutBack) return
    this.#isPutBack = true
    const stream = this.#stream
    if (this.#isListening) {
      stream.off('readable', this.#read)
      stream.off('close', this.#stop)
    }
    if (!stream.destroyed) leaveUnread(stream, this.bytes)
  }

  #answer(more: boolean): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.(more)
  }
}

function remoteError(code: string, message: string, cause?: Error | null): CioError {
  return new CioError(code, message, { fault: 'remote', cause: cause ?? undefined })
}

function releasedError(): CioError {
  return new CioError('ERR_CIO_CLOSED', 'peek: `release()` was called, so nothing can be taken')
}
