/** Frame formats: length-prefixed, delimited, or of fixed size. */

import { CioError } from '../errors.ts'
import { type Framing, syntaxError, messageTooLong } from './frame-decoder.ts'
import { checkCount, optionError } from '../options.ts'

/** The frame format: `length`, `delimiter` or `size`; by default a 4-byte length. */
export interface FramingOptions {
  /**
   * Bytes of the length prefix, which does not count itself; `varint` is the unsigned LEB128 of
   * Protocol Buffers.
   *
   * @default 4
   */
  readonly length?: 1 | 2 | 4 | 'varint'
  /**
   * Byte order of the length: most significant byte first (`big`) or last (`little`).
   *
   * @default 'big'
   */
  readonly endian?: 'big' | 'little'
  /** The delimiter after each frame. Without it, frames have a length prefix. */
  readonly delimiter?: string | Uint8Array
  /** Size of every frame in bytes. Without it, frames have a length prefix. */
  readonly size?: number
}

/** A frame format, for both directions. */
export interface Frames {
  /** The bytes to write for a frame. @throws `ERR_CIO_ENCODE` (local): it does not fit */
  readonly wrap: (content: string | Uint8Array) => Buffer
  /**
   * For one connection. `map` makes a message of a frame, which is a view of the received bytes.
   */
  readonly framing: <In>(map: (frame: Buffer, at: number) => In) => Framing<In>
}

const longestVarint = 5
const shownBytes = 16

/**
 * Makes the frame format of the options.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function framesOf(owner: string, maxLength: number, options: FramingOptions): Frames {
  const { length, endian, delimiter, size } = options
  const given = [length ?? endian, delimiter, size].filter((option) => option !== undefined)
  if (given.length > 1) {
    throw new CioError(
      'ERR_CIO_OPTION',
      `${owner}: \`length\` (and \`endian\`), \`delimiter\` and \`size\` exclude each other; give one`,
    )
  }
  if (delimiter !== undefined) return delimited(owner, maxLength, delimiter)
  if (size !== undefined) return sized(owner, maxLength, size)
  return prefixed(owner, maxLength, length ?? 4, endian ?? 'big')
}

function refuse(owner: string, why: string): CioError {
  return new CioError('ERR_CIO_ENCODE', `${owner}: the frame to send ${why}`)
}

/** The bytes to write for a frame, with a header before it or a trailer after it. */
function allocate(
  owner: string,
  content: unknown,
  header: (length: number) => number,
  trailer = 0,
): { bytes: Buffer; from: number; length: number } {
  const text = typeof content === 'string'
  if (!text && !(content instanceof Uint8Array)) {
    throw refuse(owner, `is neither bytes nor a string: ${typeof content}`)
  }
  const length = text ? Buffer.byteLength(content) : content.length
  const from = header(length)
  const bytes = Buffer.allocUnsafe(from + length + trailer)
  if (text) bytes.write(content, from)
  else bytes.set(content, from)
  return { bytes, from, length }
}

function prefixed(owner: string, maxLength: number, length: unknown, endian: unknown): Frames {
  if (endian !== 'big' && endian !== 'little') {
    throw optionError(owner, 'endian', '`big` or `little`', endian)
  }
  if (length === 'varint') return varint(owner, maxLength)
  if (length !== 1 && length !== 2 && length !== 4) {
    throw optionError(owner, 'length', '1, 2, 4 or `varint`', length)
  }
  const longest = 2 ** (8 * length) - 1
  const big = endian === 'big'
  const readLength = (bytes: Buffer, at: number): number => {
    if (length === 1) return bytes[at]!
    if (length === 2) return big ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at)
    return big ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)
  }

  return {
    wrap(content) {
      const frame = allocate(owner, content, (count) => {
        if (count <= longest) return length
        throw refuse(owner, `has ${count} bytes; a length of ${length} bytes holds ${longest}`)
      })
      if (big) frame.bytes.writeUIntBE(frame.length, 0, length)
      else frame.bytes.writeUIntLE(frame.length, 0, length)
      return frame.bytes
    },
    framing: (map) => ({
      end(bytes, start) {
        if (bytes.length - start < length) return start + length
        const count = readLength(bytes, start)
        if (count > maxLength) {
          throw messageTooLong(owner, maxLength, count, beginning(bytes, start))
        }
        return start + length + count
      },
      open(bytes, ends, into, offset) {
        let start = 0
        for (const end of ends) {
          into.push(map(bytes.subarray(start + length, end), offset + start))
          start = end
        }
      },
    }),
  }
}

function varint(owner: string, maxLength: number): Frames {
  return {
    wrap(content) {
      const { bytes, from, length } = allocate(owner, content, (count) => {
        let header = 1
        for (let rest = count; rest >= 0x80; rest = Math.floor(rest / 0x80)) header += 1
        return header
      })
      let rest = length
      for (let at = 0; at < from; at++) {
        bytes[at] = (rest % 0x80) | (at < from - 1 ? 0x80 : 0)
        rest = Math.floor(rest / 0x80)
      }
      return bytes
    },
    framing: (map) => ({
      end(bytes, start, offset) {
        let count = 0
        for (let at = 0; at < longestVarint; at++) {
          const byte = bytes[start + at]
          if (byte === undefined) return bytes.length + 1
          count += (byte & 0x7f) * 2 ** (7 * at)
          if (count > maxLength) {
            throw messageTooLong(owner, maxLength, 0, beginning(bytes, start))
          }
          if (byte < 0x80) return start + at + 1 + count
        }
        const what = `has a length of more than ${longestVarint} bytes`
        const shown = bytes.toString('hex', start, start + longestVarint)
        throw syntaxError(owner, what, offset + start, shown)
      },
      open(bytes, ends, into, offset) {
        let start = 0
        for (const end of ends) {
          let from = start
          while (bytes[from]! >= 0x80) from += 1
          into.push(map(bytes.subarray(from + 1, end), offset + start))
          start = end
        }
      },
    }),
  }
}

function delimited(owner: string, maxLength: number, given: unknown): Frames {
  const valid = (typeof given === 'string' || given instanceof Uint8Array) && given.length > 0
  if (!valid) throw optionError(owner, 'delimiter', 'at least one character or byte', given)
  const delimiter = Buffer.from(given)
  const width = delimiter.length
  const needle = width === 1 ? delimiter[0]! : delimiter

  return {
    wrap(content) {
      const { bytes, length } = allocate(owner, content, () => 0, width)
      delimiter.copy(bytes, length)
      // Searched with the delimiter appended: the frame's end may look like its beginning.
      if (bytes.indexOf(needle) !== length) throw refuse(owner, 'contains the delimiter')
      return bytes
    },
    framing(map) {
      let searched = 0
      return {
        end(bytes, start) {
          // The searched bytes may end with the beginning of the delimiter.
          const found = bytes.indexOf(needle, start + Math.max(0, searched - width + 1))
          const least = (found < 0 ? bytes.length - width + 1 : found) - start
          if (least > maxLength) {
            throw messageTooLong(owner, maxLength, 0, beginning(bytes, start))
          }
          searched = found < 0 ? bytes.length - start : 0
          return found < 0 ? bytes.length + 1 : found + width
        },
        open(bytes, ends, into, offset) {
          let start = 0
          for (const end of ends) {
            into.push(map(bytes.subarray(start, end - width), offset + start))
            start = end
          }
        },
      }
    },
  }
}

/** The beginning of a message, for errors: bytes of another protocol are often text. */
function beginning(bytes: Buffer, start: number): Buffer {
  return bytes.subarray(start, start + shownBytes)
}

function sized(owner: string, maxLength: number, size: number): Frames {
  checkCount(owner, 'size', size, 1)
  if (size > maxLength || size === Infinity) {
    throw optionError(owner, 'size', `at most \`maxLength\`, ${maxLength}`, size)
  }
  return {
    wrap(content) {
      const { bytes } = allocate(owner, content, (count) => {
        if (count === size) return 0
        throw refuse(owner, `has ${count} bytes, not the ${size} of \`size\``)
      })
      return bytes
    },
    framing: (map) => ({
      end: (_, start) => start + size,
      open(bytes, ends, into, offset) {
        for (const end of ends) into.push(map(bytes.subarray(end - size, end), offset + end - size))
      },
    }),
  }
}
