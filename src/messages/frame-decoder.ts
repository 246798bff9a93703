/** Bytes in, frames out: bounded in bytes, however many pieces they come in. */

import { isUtf8 } from 'node:buffer'
import { CioError, isCioError, quote } from '../errors.ts'
import type { Decoder } from './messages.ts'

const lineFeed = 0x0a
const leastCapacity = 1024
const empty = Buffer.alloc(0)

/** The bytes of a frame that has begun: grows by doubling, so that pieces do not add up. */
export class PartialMessage {
  #buffer: Buffer = empty
  #length = 0

  get length(): number {
    return this.#length
  }

  /** What it holds, until it is next appended to. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  append(bytes: Buffer): void {
    const needed = this.#length + bytes.length
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length, leastCapacity))
      this.#buffer.copy(grown, 0, 0, this.#length)
      this.#buffer = grown
    }
    bytes.copy(this.#buffer, this.#length)
    this.#length = needed
  }

  /** What it holds, followed by `bytes`; holds nothing after. */
  take(bytes: Buffer): Buffer {
    if (this.#length === 0) return bytes
    this.append(bytes)
    const all = this.bytes
    this.clear()
    return all
  }

  /** Forgets what it holds; what was got of `bytes` before is left as it is. */
  clear(): void {
    this.#buffer = empty
    this.#length = 0
  }
}

// Those that say nothing of the peer yet, which is not known here.
const anonymous = new WeakSet<Error>()

/** The same error, with the peer that sent what is wrong in its message. */
export function withSender(error: Error, remote: string): Error {
  if (!isCioError(error) || !anonymous.has(error)) return error
  const { code, message, fault, cause } = error
  return new CioError(code, `${message}, from ${remote}`, { fault, cause })
}

function peerError(code: string, message: string, cause?: unknown): CioError {
  const error = new CioError(code, message, { fault: 'remote', cause })
  anonymous.add(error)
  return error
}

/** The error of a message above its bound: how long it says to be, if it does, and how it begins. */
export function messageTooLong(
  owner: string,
  maxLength: number,
  length = 0,
  begins?: Buffer,
): CioError {
  const says = length > 0 ? `announces ${length} bytes, more than` : 'is longer than'
  // Often it is another protocol, which its first bytes show.
  const shown = begins ? ` (it begins with ${quote(begins.toString('latin1'))})` : ''
  const what = `a message ${says} ${maxLength} bytes${shown}; raise \`maxLength\` if it may be`
  return peerError('ERR_CIO_MESSAGE_TOO_LONG', `${owner}: ${what}`)
}

/** What a line becomes; `undefined` is no message. `at` tells the offset of its first byte. */
export type ParseLine<In> = (line: string, at: () => number) => In | undefined

/**
 * Cuts UTF-8 text at line feeds; a carriage return before one belongs to it. What is left at the
 * end of input is a line too.
 *
 * A chunk is decoded as a whole, up to its last line feed, where no character can be cut in two.
 */
export class LineDecoder<In> implements Decoder<In> {
  readonly remainder: PartialMessage = new PartialMessage()
  readonly #owner: string
  readonly #maxLength: number
  readonly #parse: ParseLine<In>
  #offset = 0

  constructor(owner: string, maxLength: number, parse: ParseLine<In>) {
    this.#owner = owner
    this.#maxLength = maxLength
    this.#parse = parse
  }

  decode(chunk: Buffer, into: In[]): void {
    const end = chunk.lastIndexOf(lineFeed)
    const whole = end >= 0 && end === chunk.length - 1
    // The ordinary case for short conversations: it needs no views.
    if (whole && this.remainder.length === 0) return this.#lines(chunk, end, into)
    if (end >= 0) {
      const region = this.remainder.take(chunk.subarray(0, end))
      this.#lines(region, region.length, into)
    }
    if (whole) return
    const rest = end >= 0 ? chunk.subarray(end + 1) : chunk
    // The last byte may be a carriage return, which does not count.
    if (this.remainder.length + rest.length > this.#maxLength + 1) throw this.#messageTooLong()
    this.remainder.append(rest)
  }

  end(into: In[]): void {
    if (this.remainder.length === 0) return
    const rest = this.remainder.take(empty)
    this.#lines(rest, rest.length, into)
  }

  /** The lines of what comes before `end`, which is that of the bytes or the line feed there. */
  #lines(bytes: Buffer, end: number, into: In[]): void {
    if (!isUtf8(bytes)) return this.#oneByOne(bytes.subarray(0, end), into)

    const text = bytes.toString('utf8', 0, end)
    const lines = text.split('\n')
    // In UTF-8, a UTF-16 unit takes three bytes at most.
    const plain = text.length <= this.#maxLength / 3 && !text.includes('\r')
    let index = 0
    // Worked out when it is asked for, which is once, for an error.
    const at = (): number =>
      this.#offset + Buffer.byteLength(lines.slice(0, index).join('\n')) + (index > 0 ? 1 : 0)
    for (; index < lines.length; index++) {
      const line = plain ? lines[index]! : this.#checked(lines[index]!)
      const message = this.#parse(line, at)
      if (message !== undefined) into.push(message)
    }
    this.#offset += end + 1
  }

  /** The slow way, for a region that is not UTF-8 somewhere. */
  #oneByOne(region: Buffer, into: In[]): void {
    for (let start = 0; start <= region.length;) {
      const feed = region.indexOf(lineFeed, start)
      const end = feed < 0 ? region.length : feed
      const bytes = region.subarray(start, end)
      const at = (): number => this.#offset
      if (!isUtf8(bytes)) {
        // The line that is too long is told as such, whatever is in it.
        if (bytes.length > this.#maxLength + 1) throw this.#messageTooLong()
        throw syntaxError(this.#owner, 'is not UTF-8', at(), bytes.toString())
      }
      const message = this.#parse(this.#checked(bytes.toString()), at)
      if (message !== undefined) into.push(message)
      this.#offset += bytes.length + 1
      start = end + 1
    }
  }

  /** The line without its carriage return, if it is not too long. */
  #checked(line: string): string {
    const content = line.endsWith('\r') ? line.slice(0, -1) : line
    if (content.length > this.#maxLength / 3 && Buffer.byteLength(content) > this.#maxLength) {
      throw this.#messageTooLong()
    }
    return content
  }

  #messageTooLong(): CioError {
    return messageTooLong(this.#owner, this.#maxLength)
  }
}

/** The error of a message that is not of its codec's form; `text` is the beginning of it. */
export function syntaxError(
  owner: string,
  what: string,
  at: number,
  text: string,
  cause?: unknown,
): CioError {
  const message = `${owner}: the message at byte ${at} ${what}: ${quote(text)}`
  return peerError('ERR_CIO_SYNTAX', message, cause)
}

/** The error of input that ends within a message. */
export function truncatedMessage(owner: string, held: number): CioError {
  return peerError(
    'ERR_CIO_TRUNCATED',
    `${owner}: the input ended ${held} bytes into a message; the peer was cut off, or the framing differs`,
  )
}

/** Where frames end, and what they become. One for each connection. */
export interface Framing<In> {
  /**
   * The position after the frame that begins at `start`. Beyond the end of `bytes`, it says how far
   * the frame reaches at least; then it is asked again, with more of the same frame, at a `start`
   * that may be another, so that it can keep its place relative to that.
   *
   * @param offset How many bytes came before `bytes`, for errors.
   * @throws `ERR_CIO_MESSAGE_TOO_LONG`, `ERR_CIO_SYNTAX` (remote)
   */
  end(bytes: Buffer, start: number, offset: number): number
  /**
   * Adds the messages of the frames that lie in `bytes` from its beginning to each of `ends`. They
   * may be views of it: it is not written to again.
   *
   * @throws `ERR_CIO_SYNTAX` (remote)
   */
  open(bytes: Buffer, ends: readonly number[], into: In[], offset: number): void
}

/**
 * Cuts bytes into frames. A frame that comes in many pieces is put together once, and looked at
 * only when what it reaches for at least is there.
 */
export class FrameDecoder<In> implements Decoder<In> {
  readonly remainder: PartialMessage = new PartialMessage()
  readonly #owner: string
  readonly #framing: Framing<In>
  #needed = 0
  #offset = 0

  constructor(owner: string, framing: Framing<In>) {
    this.#owner = owner
    this.#framing = framing
  }

  decode(chunk: Buffer, into: In[]): void {
    const { remainder } = this
    let bytes = chunk
    const held = remainder.length > 0
    if (held) {
      remainder.append(chunk)
      if (remainder.length < this.#needed) return
      bytes = remainder.bytes
    }
    const start = this.#frames(bytes, into)
    if (held && start === 0) return
    if (held) remainder.clear()
    if (start < bytes.length) remainder.append(start > 0 ? bytes.subarray(start) : bytes)
    this.#offset += start
  }

  end(): void {
    const { remainder } = this
    if (remainder.length === 0) return
    // What is malformed is told as such, also where it was not looked at for want of more.
    this.#framing.end(remainder.bytes, 0, this.#offset)
    throw truncatedMessage(this.#owner, remainder.length)
  }

  /** Where the frames that are whole end. */
  #frames(bytes: Buffer, into: In[]): number {
    const ends: number[] = []
    let start = 0
    try {
      while (start < bytes.length) {
        const end = this.#framing.end(bytes, start, this.#offset)
        if (end > bytes.length) {
          this.#needed = end - start
          break
        }
        ends.push(end)
        start = end
      }
    } finally {
      // Also those before one that is refused; what is wrong with them came first.
      if (ends.length > 0) this.#framing.open(bytes, ends, into, this.#offset)
    }
    return start
  }
}
