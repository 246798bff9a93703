/** Frames between flags, whose content is escaped. */

import type { FrameChecksum } from './checksum.ts'
import {
  type FindNext,
  FrameFault,
  type FrameFormat,
  type FrameReader,
  bytesOf,
  tooLong,
} from './format.ts'
import { none } from './kinds.ts'
import { findAfter, findStart } from './marked.ts'
import { MarkSearch } from './search.ts'

/** A way to keep the flag byte out of the content of frames. */
export interface Escaping {
  readonly flag: number
  /** The maximum encoded length of content of so many bytes. */
  longest(length: number): number
  /** The bytes for content, without flags. */
  escape(content: Uint8Array): Buffer
  /** The content; the same bytes if nothing is escaped. */
  unescape(bytes: Buffer): Buffer | FrameFault
  /** Whether frames begin with a flag as well. */
  readonly opens: boolean
}

/**
 * Frames between flags, where two flags in a row are not an empty frame. With a mark at their start
 * that is not the flag, each frame has both.
 */
export class FlaggedFormat implements FrameFormat {
  readonly #owner: string
  readonly #escaping: Escaping
  readonly #checksum: FrameChecksum | undefined
  readonly #start: Buffer

  constructor(
    owner: string,
    escaping: Escaping,
    checksum: FrameChecksum | undefined,
    start: Buffer = none,
  ) {
    this.#owner = owner
    this.#escaping = escaping
    this.#checksum = checksum
    this.#start = start
  }

  reader(maxLength: number, isSearched = false): FrameReader {
    return new FlaggedReader(this.#escaping, this.#checksum, this.#start, maxLength, isSearched)
  }

  finder(): FindNext {
    if (this.#start.length > 0) return findStart(this.#start)
    const search = new MarkSearch(Buffer.of(this.#escaping.flag))
    return findAfter((bytes, from, at) => search.find(bytes, from, at) + 1 || -1, 1)
  }

  write(message: string | Uint8Array): Buffer {
    const { flag, opens } = this.#escaping
    const content = withChecksum(bytesOf(this.#owner, message), this.#checksum)
    const escaped = this.#escaping.escape(content)
    const flags = Buffer.of(flag)
    const start = this.#start.length > 0 ? this.#start : opens ? flags : none
    return Buffer.concat([start, escaped, flags])
  }
}

class FlaggedReader implements FrameReader {
  readonly #escaping: Escaping
  readonly #checksum: FrameChecksum | undefined
  readonly #start: Buffer
  readonly #search: MarkSearch
  readonly #maxLength: number
  readonly #longest: number
  readonly #isSearched: boolean

  constructor(
    escaping: Escaping,
    checksum: FrameChecksum | undefined,
    start: Buffer,
    maxLength: number,
    isSearched: boolean,
  ) {
    this.#escaping = escaping
    this.#checksum = checksum
    this.#start = start
    this.#search = new MarkSearch(Buffer.of(escaping.flag))
    this.#maxLength = maxLength
    this.#longest = escaping.longest(maxLength + (checksum?.width ?? 0))
    this.#isSearched = isSearched
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    const mark = this.#start
    if (mark.length > 0) {
      const there = bytes.subarray(start, start + mark.length)
      if (!mark.subarray(0, there.length).equals(there)) {
        return new FrameFault('start', `does not begin with ${mark.toString('hex')}`)
      }
      if (there.length < mark.length) return mark.length
    }
    const begin = this.#contentOf(bytes, start)
    // Nothing between flags is no frame. A search does not count the flags before a frame as bytes of
    // it, since they may have come alone.
    const isAlone = this.#isSearched || begin === bytes.length
    if (isAlone && begin > start && mark.length === 0) return begin - start
    const found = this.#search.find(bytes, begin, at - start)
    const end = found < 0 ? bytes.length : found
    if (end - begin > this.#longest) return tooLong()
    return end + 1 - start
  }

  open(bytes: Buffer, start: number, end: number): Buffer | FrameFault | undefined {
    const begin = this.#contentOf(bytes, start)
    if (begin >= end) return undefined
    const content = this.#escaping.unescape(bytes.subarray(begin, end - 1))
    if (content instanceof FrameFault) return content
    return opened(content, this.#checksum, this.#maxLength)
  }

  #contentOf(bytes: Buffer, start: number): number {
    if (this.#start.length > 0) return start + this.#start.length
    const { flag } = this.#escaping
    let begin = start
    while (bytes[begin] === flag) begin += 1
    return begin
  }
}

/** The message of unescaped content. */
export function opened(
  content: Buffer,
  checksum: FrameChecksum | undefined,
  maxLength: number,
): Buffer | FrameFault {
  const width = checksum?.width ?? 0
  if (content.length - width > maxLength) return tooLong()
  if (!checksum) return content
  const message = content.subarray(0, Math.max(0, content.length - width))
  return checksum.faultOf(content, 0, 0, 0, content.length, 0, message) ?? message
}

/** A message with its checksum. */
export function withChecksum(message: Uint8Array, checksum: FrameChecksum | undefined): Buffer {
  if (!checksum) return Buffer.from(message.buffer, message.byteOffset, message.byteLength)
  const content = Buffer.allocUnsafe(message.length + checksum.width)
  content.set(message)
  checksum.write(content, 0, 0, content.length)
  return content
}
