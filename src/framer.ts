/** Bytes in, frames out: bounded in bytes, however many pieces they come in. */

import { isUtf8 } from 'node:buffer'
import { CioError, quote } from './errors.ts'
import type { Decoder } from './messages.ts'

const lineFeed = 0x0a
const carriageReturn = 0x0d
const leastCapacity = 1024

/** The bytes of a frame that has begun: grows by doubling, so that pieces do not add up. */
export class Remainder {
  #buffer: Buffer = Buffer.alloc(0)
  #length = 0

  get length(): number {
    return this.#length
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
    const all = this.#buffer.subarray(0, this.#length)
    this.#buffer = Buffer.alloc(0)
    this.#length = 0
    return all
  }
}

/** The error of a message above its bound. */
export function tooLong(owner: string, maxLength: number): CioError {
  return new CioError(
    'ERR_CIO_MESSAGE_TOO_LONG',
    `${owner}: a message is longer than ${maxLength} bytes; raise \`maxLength\` if it may be`,
    { fault: 'peer' },
  )
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
  readonly remainder: Remainder = new Remainder()
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
    if (end >= 0) this.#lines(this.remainder.take(chunk.subarray(0, end)), into)
    const rest = end >= 0 ? chunk.subarray(end + 1) : chunk
    if (rest.length === 0) return
    // The last byte may be a carriage return, which does not count.
    if (this.remainder.length + rest.length > this.#maxLength + 1) throw this.#tooLong()
    this.remainder.append(rest)
  }

  end(into: In[]): void {
    if (this.remainder.length > 0) this.#lines(this.remainder.take(Buffer.alloc(0)), into)
  }

  #lines(region: Buffer, into: In[]): void {
    if (region.length > this.#maxLength || !isUtf8(region)) return this.#oneByOne(region, into)

    const lines = region.toString().split('\n')
    for (const [index, line] of lines.entries()) {
      const at = (): number =>
        this.#offset + Buffer.byteLength(lines.slice(0, index).join('\n')) + (index > 0 ? 1 : 0)
      this.#push(line, at, into)
    }
    this.#offset += region.length + 1
  }

  /** The slow way, for the region that holds what may be wrong. */
  #oneByOne(region: Buffer, into: In[]): void {
    for (let start = 0; start <= region.length;) {
      const feed = region.indexOf(lineFeed, start)
      const end = feed < 0 ? region.length : feed
      const bytes = region.subarray(start, end)
      const length = bytes.at(-1) === carriageReturn ? bytes.length - 1 : bytes.length
      if (length > this.#maxLength) throw this.#tooLong()
      const at = (): number => this.#offset
      if (!isUtf8(bytes)) throw syntaxError(this.#owner, 'is not UTF-8', at(), bytes.toString())
      this.#push(bytes.toString(), at, into)
      this.#offset += bytes.length + 1
      start = end + 1
    }
  }

  #push(line: string, at: () => number, into: In[]): void {
    const message = this.#parse(line.endsWith('\r') ? line.slice(0, -1) : line, at)
    if (message !== undefined) into.push(message)
  }

  #tooLong(): CioError {
    return tooLong(this.#owner, this.#maxLength)
  }
}

/** The error of a message that is not of its codec's form. */
export function syntaxError(owner: string, what: string, at: number, text: string): CioError {
  const message = `${owner}: the message at byte ${at} ${what}: ${quote(text)}`
  return new CioError('ERR_CIO_SYNTAX', message, { fault: 'peer' })
}
