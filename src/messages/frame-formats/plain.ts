/** The two most common formats, close to the cost of a loop by hand: nothing is around their bodies. */

import { type Framing, messageTooLong } from '../frame-decoder.ts'
import { encodeError } from './format.ts'
import type { FramingOptions } from './options.ts'

/** The parts of a format that are cheaper than those for any options. */
interface Plain {
  readonly wrap?: (content: string | Uint8Array) => Buffer
  readonly framing: <In>(map: (frame: Buffer, at: number) => In) => Framing<In>
}

const shownBytes = 16

/** A length or one delimiter, and nothing else; undefined for all other formats. */
export function plainFormat(
  owner: string,
  maxLength: number,
  options: FramingOptions,
): Plain | undefined {
  const { length, delimiter, size, stuffing, measure, oneOf, start, end, checksum } = options
  const others = [size, stuffing, measure, oneOf, start, end, checksum]
  if (others.some((option) => option !== undefined) || options.whole) return undefined
  if (typeof delimiter === 'string' || delimiter instanceof Uint8Array) {
    return plainDelimiter(owner, maxLength, Buffer.from(delimiter))
  }
  const width = length ?? 4
  if (delimiter || (width !== 1 && width !== 2 && width !== 4)) return undefined
  return plainLength(owner, maxLength, width, (options.endian ?? 'big') === 'big')
}

/** Sends as any other format: the bytes to send may have the delimiter in them. */
function plainDelimiter(owner: string, maxLength: number, delimiter: Buffer): Plain {
  const width = delimiter.length
  const mark = width === 1 ? delimiter[0]! : delimiter
  return {
    framing: (map) => {
      /** How many bytes of an incomplete frame have been searched. */
      let searched = 0
      return {
        end(bytes, start) {
          // The searched part may end with the beginning of the delimiter.
          const found = bytes.indexOf(mark, start + Math.max(0, searched - width + 1))
          searched = found < 0 ? bytes.length - start : 0
          // Without a whole delimiter, the next byte is the earliest that can complete one.
          const length = found < 0 ? Math.max(0, searched + 1 - width) : found - start
          if (length > maxLength) {
            throw messageTooLong(owner, maxLength, 0, bytes.subarray(start, start + shownBytes))
          }
          return found < 0 ? bytes.length + 1 : found + width
        },
        open(bytes, ends, into, offset) {
          let start = 0
          for (const end of ends) {
            into.push(map(bytes.subarray(start, end - width), offset + start))
            start = end
          }
        },
        take(bytes, into, offset) {
          let start = 0
          let from = Math.max(0, searched - width + 1)
          for (;;) {
            const found = bytes.indexOf(mark, from)
            searched = found < 0 ? bytes.length - start : 0
            if (found < 0 || found - start > maxLength) return start
            into.push(map(bytes.subarray(start, found), offset + start))
            start = from = found + width
          }
        },
      }
    },
  }
}

/** A length of 1, 2 or 4 bytes before the body. */
function plainLength(owner: string, maxLength: number, width: 1 | 2 | 4, big: boolean): Plain {
  const longest = 2 ** (8 * width) - 1
  const readLength = (bytes: Buffer, at: number): number => {
    if (width === 1) return bytes[at]!
    if (width === 2) return big ? bytes.readUInt16BE(at) : bytes.readUInt16LE(at)
    return big ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at)
  }

  return {
    wrap(content) {
      const isText = typeof content === 'string'
      if (!isText && !(content instanceof Uint8Array)) {
        throw encodeError(owner, `is neither bytes nor a string: ${typeof content}`)
      }
      const count = isText ? Buffer.byteLength(content) : content.length
      if (count > longest) {
        const what = `has ${count} bytes; a length of ${width} bytes holds ${longest}`
        throw encodeError(owner, what)
      }
      const bytes = Buffer.allocUnsafe(width + count)
      if (big) bytes.writeUIntBE(count, 0, width)
      else bytes.writeUIntLE(count, 0, width)
      if (isText) bytes.write(content, width)
      else bytes.set(content, width)
      return bytes
    },
    framing: (map) => ({
      end(bytes, start) {
        if (bytes.length - start < width) return start + width
        const count = readLength(bytes, start)
        if (count <= maxLength) return start + width + count
        throw messageTooLong(owner, maxLength, count, bytes.subarray(start, start + shownBytes))
      },
      open(bytes, ends, into, offset) {
        let start = 0
        for (const end of ends) {
          into.push(map(bytes.subarray(start + width, end), offset + start))
          start = end
        }
      },
      take(bytes, into, offset) {
        let start = 0
        while (start + width <= bytes.length) {
          const count = readLength(bytes, start)
          const end = start + width + count
          if (end > bytes.length || count > maxLength) return start
          into.push(map(bytes.subarray(start + width, end), offset + start))
          start = end
        }
        return start
      },
    }),
  }
}
