/** Byte stuffing with a flag and an escape, as in SLIP and HDLC. */

import type { FrameChecksum } from './checksum.ts'
import {
  type FindNext,
  FrameFault,
  type FrameFormat,
  type FrameReader,
  bytesOf,
  tooLong,
} from './format.ts'
import { findAfter } from './marked.ts'
import type { OptionCheck } from './option-check.ts'
import type { Stuffing } from './options.ts'
import { MarkSearch } from './search.ts'

const known = ['flag', 'escape', 'xor', 'map', 'also']
const values = 256

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

/** Frames between flags. Two flags in a row are not an empty frame. */
export class FlaggedFormat implements FrameFormat {
  readonly #owner: string
  readonly #escaping: Escaping
  readonly #checksum: FrameChecksum | undefined

  constructor(owner: string, escaping: Escaping, checksum: FrameChecksum | undefined) {
    this.#owner = owner
    this.#escaping = escaping
    this.#checksum = checksum
  }

  reader(maxLength: number): FrameReader {
    return new FlaggedReader(this.#escaping, this.#checksum, maxLength)
  }

  finder(): FindNext {
    const search = new MarkSearch(Buffer.of(this.#escaping.flag))
    return findAfter((bytes, from, at) => search.find(bytes, from, at) + 1 || -1, 1)
  }

  write(message: string | Uint8Array): Buffer {
    const { flag, opens } = this.#escaping
    const content = withChecksum(bytesOf(this.#owner, message), this.#checksum)
    const escaped = this.#escaping.escape(content)
    const flags = Buffer.of(flag)
    return Buffer.concat(opens ? [flags, escaped, flags] : [escaped, flags])
  }
}

class FlaggedReader implements FrameReader {
  readonly #escaping: Escaping
  readonly #checksum: FrameChecksum | undefined
  readonly #search: MarkSearch
  readonly #maxLength: number
  readonly #longest: number

  constructor(escaping: Escaping, checksum: FrameChecksum | undefined, maxLength: number) {
    this.#escaping = escaping
    this.#checksum = checksum
    this.#search = new MarkSearch(Buffer.of(escaping.flag))
    this.#maxLength = maxLength
    this.#longest = escaping.longest(maxLength + (checksum?.width ?? 0))
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    const begin = this.#afterFlags(bytes, start)
    // Nothing between flags is no frame.
    if (begin === bytes.length && begin > start) return begin - start
    const found = this.#search.find(bytes, begin, at - start)
    const end = found < 0 ? bytes.length : found
    if (end - begin > this.#longest) return tooLong()
    return end + 1 - start
  }

  open(bytes: Buffer, start: number, end: number): Buffer | FrameFault | undefined {
    const begin = this.#afterFlags(bytes, start)
    if (begin >= end) return undefined
    const content = this.#escaping.unescape(bytes.subarray(begin, end - 1))
    if (content instanceof FrameFault) return content
    return opened(content, this.#checksum, this.#maxLength)
  }

  #afterFlags(bytes: Buffer, start: number): number {
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

/** Byte stuffing with an escape before each byte that must not appear in a frame. */
export class EscapeByte implements Escaping {
  readonly flag: number
  readonly opens = true
  readonly #escape: number
  /** The code of each byte, and the byte of each code; -1 for none. */
  readonly #codes = new Int16Array(values).fill(-1)
  readonly #bytes = new Int16Array(values).fill(-1)

  /** @throws `ERR_CIO_OPTION` */
  constructor(check: OptionCheck, options: Stuffing) {
    const { flag, escape, xor, map, also = [] } = options
    check.names(options, known)
    check.whole('flag', flag, 0, values - 1)
    check.whole('escape', escape, 0, values - 1)
    if (flag === escape) throw check.refused('`flag` and `escape` must differ')
    if ((xor === undefined) === (map === undefined))
      throw check.refused('give one of `xor` and `map`')
    this.flag = flag
    this.#escape = escape
    if (map) this.#useMap(check, options, map)
    else this.#useXor(check, options, xor!, also)
  }

  longest(length: number): number {
    return 2 * length
  }

  escape(content: Uint8Array): Buffer {
    const codes = this.#codes
    let count = 0
    for (const byte of content) if (codes[byte]! >= 0) count += 1
    const escaped = Buffer.allocUnsafe(content.length + count)
    let at = 0
    for (const byte of content) {
      const code = codes[byte]!
      if (code >= 0) escaped[at++] = this.#escape
      escaped[at++] = code >= 0 ? code : byte
    }
    return escaped
  }

  unescape(bytes: Buffer): Buffer | FrameFault {
    const escape = this.#escape
    if (!bytes.includes(escape)) return bytes
    // Copied: Cio never writes to a received chunk.
    const content = Buffer.allocUnsafe(bytes.length - 1)
    let to = 0
    for (let at = 0; at < bytes.length; at++) {
      let byte = bytes[at]!
      if (byte === escape) {
        at += 1
        byte = at < bytes.length ? this.#bytes[bytes[at]!]! : -1
        if (byte < 0) return new FrameFault('escape', 'has an escape that stands for no byte')
      }
      content[to++] = byte
    }
    return content.subarray(0, to)
  }

  #useMap(check: OptionCheck, { flag, escape, also }: Stuffing, map: object): void {
    check.object('map', map, 'an object of bytes')
    if (also !== undefined) throw check.refused('`also` is for `xor`; put the bytes into `map`')
    for (const [key, code] of Object.entries(map) as [string, unknown][]) {
      const byte = Number(key)
      check.whole('map', byte, 0, values - 1)
      check.whole(`map[${key}]`, code, 0, values - 1)
      this.#stand(check, byte, code as number)
    }
    for (const byte of [flag, escape]) {
      if (this.#codes[byte]! < 0) throw check.refused(`\`map\` has no code for ${byte}`)
    }
  }

  #useXor(
    check: OptionCheck,
    { flag, escape }: Stuffing,
    xor: number,
    also: readonly number[],
  ): void {
    check.whole('xor', xor, 1, values - 1)
    if (!Array.isArray(also)) throw check.wrong('also', 'an array of bytes', also)
    for (const byte of also) check.whole('also', byte, 0, values - 1)
    for (const byte of new Set([flag, escape, ...also])) this.#stand(check, byte, byte ^ xor)
    // A sender may escape any other byte.
    for (let code = 0; code < values; code++) if (code !== flag) this.#bytes[code] = code ^ xor
  }

  #stand(check: OptionCheck, byte: number, code: number): void {
    if (code === this.flag)
      throw check.refused(`${byte} is escaped as the flag, which ends the frame`)
    if (this.#bytes[code]! >= 0) throw check.refused(`two bytes are escaped as ${code}`)
    this.#codes[byte] = code
    this.#bytes[code] = byte
  }
}
