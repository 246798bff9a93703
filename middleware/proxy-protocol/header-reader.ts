/** A header of either version, from the pieces that it comes in. */

import type { Readable } from 'node:stream'
import { type ParsedHeader, malformed, signature, word } from './proxied.ts'
import { parseV1 } from './v1.ts'
import { parseV2 } from './v2.ts'

/**
 * Reads a header of either version from the bytes that have come. Returns how many it needs to say
 * more, where these are too few.
 *
 * @throws `ERR_CIO_PROXY_HEADER` (remote): it is none, as soon as that is certain, or longer than
 *   `maxSize`
 */
export function parseHeader(bytes: Buffer, maxSize: number): ParsedHeader | number {
  if (bytes[0] === word[0]) return parseV1(bytes)
  if (bytes[0] === signature[0]) return parseV2(bytes, maxSize)
  if (bytes.length === 0) return 1
  throw malformed('it is none')
}

/** What `Gathering` has when the header is there. */
export interface Gathered {
  readonly proxied: ParsedHeader['proxied']
  /** What came after it. */
  readonly rest: Buffer
}

/** Puts the pieces of a header together. Joins them when there are enough, not with each piece. */
export class HeaderReader {
  readonly #maxSize: number
  #pieces: Buffer[] = []
  #size = 0
  #needed = 1

  constructor(maxSize: number) {
    this.#maxSize = maxSize
  }

  /** How many bytes have come. */
  get size(): number {
    return this.#size
  }

  /**
   * Takes a piece; returns undefined until the header is there.
   *
   * @throws `ERR_CIO_PROXY_HEADER` (remote)
   */
  take(piece: Buffer): Gathered | undefined {
    this.#pieces.push(piece)
    this.#size += piece.length
    if (this.#size < this.#needed) return undefined
    const bytes = this.#pieces.length === 1 ? piece : Buffer.concat(this.#pieces)
    this.#pieces = [bytes]
    const parsed = parseHeader(bytes, this.#maxSize)
    if (typeof parsed !== 'number') {
      return { proxied: parsed.proxied, rest: bytes.subarray(parsed.length) }
    }
    this.#needed = parsed
    return undefined
  }

  /** All that has come: newer Node hands out a piece at a time, and tells once of all of them. */
  takeFrom(stream: Readable): Gathered | undefined {
    for (;;) {
      const piece = stream.read() as Buffer | null
      const gathered = piece === null ? undefined : this.take(piece)
      if (gathered || piece === null) return gathered
    }
  }
}

/** Whether bytes begin as a header does; undefined as long as they could. */
export function beginsHeader(bytes: Buffer): boolean | undefined {
  for (const beginning of [word, signature]) {
    const length = Math.min(bytes.length, beginning.length)
    if (beginning.compare(bytes, 0, length, 0, length) === 0) {
      return length === beginning.length ? true : undefined
    }
  }
  return false
}
