/**
 * The frames between instances: a version, a header of JSON, and a body.
 *
 * Instances of several releases run side by side during a rolling restart. So an instance ignores
 * members of a header that it does not know, and answers a request that it does not understand with
 * `unsupported`. Frozen examples are in `test/fixtures/frames.json`.
 */

/** The first byte of a frame. Releases with different values cannot communicate. */
export const version = 1

/** The kind of a frame. */
export type Header = Readonly<Record<string, unknown>> & { readonly kind: string }

export interface Frame {
  readonly header: Header
  readonly body: Uint8Array
}

const prefixLength = 5
const noBody = new Uint8Array()

/** Version, length of the header, header, body. */
export function encodeFrame(header: Header, body: Uint8Array = noBody): Buffer {
  const before = encodeHeader(header)
  return body.byteLength === 0 ? before : Buffer.concat([before, body])
}

/** The part before the body. Several frames may share it. */
export function encodeHeader(header: Header): Buffer {
  const text = JSON.stringify(header)
  const length = Buffer.byteLength(text)
  const bytes = Buffer.allocUnsafe(prefixLength + length)
  bytes[0] = version
  bytes.writeUInt32BE(length, 1)
  bytes.write(text, prefixLength)
  return bytes
}

/** The frame in these bytes; undefined if it has another version, or if it is not a frame. */
export function decodeFrame(payload: Uint8Array): Frame | undefined {
  const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength)
  if (bytes.length < prefixLength || bytes[0] !== version) return undefined
  const end = prefixLength + bytes.readUInt32BE(1)
  if (end > bytes.length) return undefined
  try {
    const header: unknown = JSON.parse(bytes.toString('utf8', prefixLength, end))
    if (typeof (header as Partial<Header> | null)?.kind !== 'string') return undefined
    return { header: header as Header, body: bytes.subarray(end) }
  } catch {
    return undefined
  }
}

/** Whether a frame has this header. */
export function startsWith(payload: Uint8Array, header: Buffer): boolean {
  const { length } = header
  return payload.byteLength >= length && header.compare(payload, 0, length) === 0
}

/** Checks members of a header from another instance. */
export function textOf(header: Header, name: string): string | undefined {
  const value = header[name]
  return typeof value === 'string' ? value : undefined
}

export function numberOf(header: Header, name: string): number | undefined {
  const value = header[name]
  return typeof value === 'number' ? value : undefined
}
