/** The header of a stream of `multiplex`: its name and headers. */

import { CioError, quote } from '../../src/errors.ts'
import { GrowingBuffer } from '../../src/streams/growing-buffer.ts'

/** Maximum bytes of a header, whose length has two bytes. */
export const longestOpening: number = 2 ** 16 - 1
const lengthSize = 2

/** The first bytes of a stream, from the side that opens it. */
export interface StreamHeader {
  readonly name: string
  /** Without a prototype, so that a peer cannot set `__proto__`. */
  readonly headers: Readonly<Record<string, string>>
}

/** A received header. */
export interface Opened {
  readonly opening: StreamHeader
  /** Its size in bytes. */
  readonly size: number
  /** The bytes after it. */
  readonly rest: Buffer
}

/**
 * Encodes a header: its length in two bytes, and JSON.
 *
 * @param max Maximum bytes of the JSON.
 * @throws `ERR_CIO_HEADERS_SIZE` (local): it is longer
 */
export function writeOpening({ name, headers }: StreamHeader, max: number): Buffer {
  const json = JSON.stringify([name, headers])
  const size = Buffer.byteLength(json)
  if (size > max) {
    const message = `the name and headers of a stream have ${size} bytes, more than the ${max} of \`maxHeadersSize\``
    throw new CioError('ERR_CIO_HEADERS_SIZE', message)
  }
  const bytes = Buffer.allocUnsafe(lengthSize + size)
  bytes.writeUInt16BE(size)
  bytes.write(json, lengthSize)
  return bytes
}

/** Assembles a header from pieces. */
export class OpeningReader {
  readonly #max: number
  readonly #bytes = new GrowingBuffer()

  /** @param max Maximum bytes of the JSON. */
  constructor(max: number) {
    this.#max = max
  }

  /**
   * Takes a piece; returns undefined until the header is complete.
   *
   * @throws `ERR_CIO_MULTIPLEX` (remote): it is malformed
   */
  take(piece: Buffer): Opened | 'too long' | undefined {
    // Most headers arrive whole, and are not copied.
    if (this.#bytes.length === 0) {
      const opened = this.#read(piece)
      if (opened) return opened
    }
    this.#bytes.append(piece)
    return this.#read(this.#bytes.bytes)
  }

  #read(bytes: Buffer): Opened | 'too long' | undefined {
    if (bytes.length < lengthSize) return undefined
    const end = lengthSize + bytes.readUInt16BE(0)
    if (end - lengthSize > this.#max) return 'too long'
    if (bytes.length < end) return undefined
    const opening = parse(bytes.subarray(lengthSize, end))
    return { opening, size: end, rest: bytes.subarray(end) }
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function parse(bytes: Buffer): StreamHeader {
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(bytes))
  } catch (cause) {
    throw malformed(bytes, cause)
  }
  const [name, headers = {}] = Array.isArray(value) ? (value as unknown[]) : []
  if (typeof name !== 'string' || !isHeaders(headers)) throw malformed(bytes)
  const own = Object.assign(Object.create(null) as Record<string, string>, headers)
  return { name, headers: Object.freeze(own) }
}

/** Whether it is an object of strings. */
export function isHeaders(value: unknown): value is Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every((one) => typeof one === 'string')
}

function malformed(bytes: Buffer, cause?: unknown): CioError {
  const message = `a stream does not begin with a name and headers, but with ${quote(bytes.toString('latin1'))}`
  return new CioError('ERR_CIO_MULTIPLEX', message, { fault: 'remote', cause })
}
