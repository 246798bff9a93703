/** Decodes frames from bytes, bounded in bytes and in time, in however many chunks they arrive. */

import { isUtf8 } from 'node:buffer'
import { CioError, isCioError, quote } from '../errors.ts'
import type { Decoder } from './codec.ts'
import { PartialMessage } from './partial-message.ts'

const lineFeed = 0x0a
const empty = Buffer.alloc(0)
/** Bytes that an incomplete frame of unknown length is continued with at first. */
const leastPart = 512

// Errors that do not name the peer yet, because the decoder does not know it.
const anonymous = new WeakSet<Error>()

/** The same error, with the peer in its message. */
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

/**
 * The error of a message above `maxLength`: with its announced length, if any, and its first bytes.
 */
export function messageTooLong(
  owner: string,
  maxLength: number,
  length = 0,
  begins?: Buffer,
): CioError {
  const says = length > 0 ? `announces ${length} bytes, more than` : 'is longer than'
  const what = `a message ${says} ${maxLength} bytes${shown(begins)}; raise \`maxLength\` if it may be`
  return peerError('ERR_CIO_MESSAGE_TOO_LONG', `${owner}: ${what}`)
}

/** Makes a message of a line; `undefined` for none. `at` returns the offset of its first byte. */
export type ParseLine<In> = (line: string, at: () => number) => In | undefined

/**
 * Splits UTF-8 text at line feeds, each with an optional carriage return before it. The rest at the
 * end of input is a line too.
 *
 * A chunk is decoded as a whole, up to its last line feed, where no character can be cut in two.
 */
export class LineDecoder<In> implements Decoder<In> {
  /** The bytes of an incomplete line. */
  readonly remainder: PartialMessage = new PartialMessage()
  readonly #owner: string
  readonly #maxLength: number
  readonly #parse: ParseLine<In>
  #offset = 0
  readonly #start = (): number => this.#offset

  constructor(owner: string, maxLength: number, parse: ParseLine<In>) {
    this.#owner = owner
    this.#maxLength = maxLength
    this.#parse = parse
  }

  /** Adds the lines that a chunk completes. */
  decode(chunk: Buffer, into: In[]): void {
    const last = chunk.length - 1
    const whole = chunk[last] === lineFeed
    const end = whole ? last : chunk.lastIndexOf(lineFeed)
    // The common case for short conversations: it needs no views.
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

  /** Adds the last line, at the end of input. */
  end(into: In[]): void {
    if (this.remainder.length === 0) return
    const rest = this.remainder.take(empty)
    this.#lines(rest, rest.length, into)
  }

  /** Adds the lines before `end`: a line feed, or the end of the bytes. */
  #lines(bytes: Buffer, end: number, into: In[]): void {
    if (!isUtf8(bytes)) return this.#oneByOne(bytes.subarray(0, end), into)

    const text = bytes.toString('utf8', 0, end)
    // In UTF-8, a UTF-16 unit takes three bytes at most.
    const plain = text.length <= this.#maxLength / 3 && !text.includes('\r')
    if (text.includes('\n')) this.#split(text, plain, into)
    else {
      const message = this.#parse(plain ? text : this.#checked(text), this.#start)
      if (message !== undefined) into.push(message)
    }
    this.#offset += end + 1
  }

  #split(text: string, plain: boolean, into: In[]): void {
    const lines = text.split('\n')
    let index = 0
    // Computed only when needed, once, for an error.
    const at = (): number =>
      this.#offset + Buffer.byteLength(lines.slice(0, index).join('\n')) + (index > 0 ? 1 : 0)
    for (; index < lines.length; index++) {
      const line = plain ? lines[index]! : this.#checked(lines[index]!)
      const message = this.#parse(line, at)
      if (message !== undefined) into.push(message)
    }
  }

  /** The slow path, for a region with invalid UTF-8. */
  #oneByOne(region: Buffer, into: In[]): void {
    for (let start = 0; start <= region.length;) {
      const feed = region.indexOf(lineFeed, start)
      const end = feed < 0 ? region.length : feed
      const bytes = region.subarray(start, end)
      if (!isUtf8(bytes)) {
        // A line that is too long is reported as such, whatever it contains.
        if (bytes.length > this.#maxLength + 1) throw this.#messageTooLong()
        throw syntaxError(this.#owner, 'is not UTF-8', this.#offset, bytes.toString())
      }
      const message = this.#parse(this.#checked(bytes.toString()), this.#start)
      if (message !== undefined) into.push(message)
      this.#offset += bytes.length + 1
      start = end + 1
    }
  }

  /** The line without its carriage return, after the check of its length. */
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

/** The error of a malformed message; `text` is its beginning. */
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

/** The error of input that ends within a message, which begins with these bytes, if they are known. */
export function truncatedMessage(owner: string, held: number, begins?: Buffer): CioError {
  return peerError(
    'ERR_CIO_TRUNCATED',
    `${owner}: the input ended ${held} bytes into a message${shown(begins)}; the peer was cut off, or the framing differs`,
  )
}

const shownLength = 16

/** Often the peer speaks another protocol, which the first bytes show. */
function shown(begins: Buffer | undefined): string {
  if (!begins) return ''
  return ` (it begins with ${quote(begins.toString('latin1', 0, shownLength))})`
}

/** Finds the ends of frames, and makes messages of them. One for each connection. */
export interface Framing<In> {
  /**
   * The position after the frame that begins at `start`. A position beyond the end of `bytes` is a
   * lower bound for the end of the frame. Then it is called again with more of the same frame,
   * perhaps at another `start`, so keep positions relative to `start`.
   *
   * @param offset How many bytes came before `bytes`, for errors.
   * @throws `ERR_CIO_MESSAGE_TOO_LONG`, `ERR_CIO_SYNTAX` (remote)
   */
  end(bytes: Buffer, start: number, offset: number): number
  /**
   * Adds the messages of the frames that lie in `bytes` from its beginning to each of `ends`. They
   * may be views of `bytes`, which Cio does not change later.
   *
   * @throws `ERR_CIO_SYNTAX` (remote)
   */
  open(bytes: Buffer, ends: readonly number[], into: In[], offset: number): void
  /**
   * Adds the messages from the beginning of `bytes`, and returns the start of the first frame that is
   * not whole, or that `end` refuses. It is for formats whose frames are so cheap that a second pass
   * would cost as much as they do. Without it, `end` and `open` are called for all.
   *
   * @internal
   */
  take?(bytes: Buffer, into: In[], offset: number): number
}

/**
 * Cuts bytes into frames. A frame in many chunks is joined once, and scanned again only when its
 * known minimum has arrived.
 */
export class FrameDecoder<In> implements Decoder<In> {
  /** The bytes of an incomplete frame. */
  readonly remainder: PartialMessage = new PartialMessage()
  readonly #owner: string
  readonly #framing: Framing<In>
  #needed = 0
  #offset = 0

  constructor(owner: string, framing: Framing<In>) {
    this.#owner = owner
    this.#framing = framing
  }

  /** Adds the messages that a chunk completes. */
  decode(chunk: Buffer, into: In[]): void {
    const { remainder } = this
    let rest = chunk
    // Only the bytes that complete the frame are copied. The bytes after it are decoded in place.
    while (remainder.length > 0) {
      if (rest.length === 0) return
      rest = this.#continue(rest, into)
    }
    const start = this.#frames(rest, into)
    if (start < rest.length) remainder.append(start > 0 ? rest.subarray(start) : rest)
    this.#offset += start
  }

  /** Adds a part of a chunk to the incomplete frame, and returns the rest of the chunk. */
  #continue(chunk: Buffer, into: In[]): Buffer {
    const { remainder } = this
    const held = remainder.length
    const missing = this.#needed - held
    // A format that does not know how many bytes are missing asks for one more.
    const part = chunk.subarray(0, missing > 1 ? missing : Math.max(held, leastPart))
    remainder.append(part)
    const rest = chunk.subarray(part.length)
    if (remainder.length < this.#needed) return rest
    const { bytes } = remainder
    const start = this.#frames(bytes, into)
    this.#offset += start
    const left = bytes.length - start
    // The last case is a function that finds an end in bytes in which it did not find it before.
    if (start === 0 || rest.length === 0 || left > part.length) {
      remainder.drop(start)
      return rest
    }
    remainder.clear()
    return chunk.subarray(part.length - left)
  }

  /** Throws `ERR_CIO_TRUNCATED` if the input ended within a frame. */
  end(): void {
    const { remainder } = this
    if (remainder.length === 0) return
    // Malformed input is reported as malformed, even if the scan was waiting for more.
    this.#framing.end(remainder.bytes, 0, this.#offset)
    throw truncatedMessage(this.#owner, remainder.length, remainder.bytes)
  }

  /** The ends of the complete frames. */
  #frames(bytes: Buffer, into: In[]): number {
    const ends: number[] = []
    let start = this.#framing.take?.(bytes, into, this.#offset) ?? 0
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
      // The frames before a refused one are decoded too; their errors come first.
      if (ends.length > 0) this.#framing.open(bytes, ends, into, this.#offset)
    }
    return start
  }
}
