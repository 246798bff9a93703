/** Reads a header of either version, from the pieces in which it arrives. */

import type { Readable } from 'node:stream'
import { quote } from '../../src/errors.ts'
import { type ParsedHeader, malformed, signature, word } from './proxied.ts'
import { parseV1 } from './v1.ts'
import { parseV2 } from './v2.ts'

/**
 * Parses a header of either version. If the bytes are too few, returns how many bytes it needs to
 * continue.
 *
 * @throws `ERR_CIO_PROXY_HEADER` (remote): it is not a header, as soon as that is certain, or it is
 *   longer than `maxSize`
 */
export function parseHeader(bytes: Buffer, maxSize: number): ParsedHeader | number {
  if (bytes[0] === word[0]) return parseV1(bytes)
  if (bytes[0] === signature[0]) return parseV2(bytes, maxSize)
  if (bytes.length === 0) return 1
  throw malformed(`it is none, since it begins with ${quote(bytes.toString('latin1', 0, 1))}`)
}

/** The result of {@link HeaderReader}. */
export interface Gathered {
  readonly proxied: ParsedHeader['proxied']
  /** The bytes after it. */
  readonly rest: Buffer
}

/** Assembles a header. Joins the pieces once there are enough, not with each piece. */
export class HeaderReader {
  readonly #maxSize: number
  #pieces: Buffer[] = []
  #size = 0
  #needed = 1

  constructor(maxSize: number) {
    this.#maxSize = maxSize
  }

  /** Number of bytes received. */
  get size(): number {
    return this.#size
  }

  /**
   * Takes a piece; returns undefined until the header is complete.
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

  /**
   * Takes all available input: newer Node returns one piece per `read()`, and emits `readable`
   * once.
   */
  takeFrom(stream: Readable): Gathered | undefined {
    for (;;) {
      const piece = stream.read() as Buffer | null
      const gathered = piece === null ? undefined : this.take(piece)
      if (gathered || piece === null) return gathered
    }
  }
}

/** Whether bytes begin like a header; undefined while they are too few to decide. */
export function beginsHeader(bytes: Buffer): boolean | undefined {
  for (const beginning of [word, signature]) {
    const length = Math.min(bytes.length, beginning.length)
    if (beginning.compare(bytes, 0, length, 0, length) === 0) {
      return length === beginning.length ? true : undefined
    }
  }
  return false
}
