/** The tokens of MessagePack. */

/** Header bytes of the tokens 0xc0 to 0xdf, with the extension type; 0 for an invalid token. */
export const headers: readonly number[] = [
  1, 0, 1, 1, 2, 3, 5, 3, 4, 6, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18, 2, 3, 5, 3, 5, 3, 5,
]

/** Size of the length field of the tokens 0xc0 to 0xdf; 0 for a token without one. */
const widths = [
  0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4,
]
const hashed = new Set([0xca, 0xcb, 0xce, 0xcf, 0xd2, 0xd3])

/** The header of an array. */
export interface List {
  readonly count: number
  readonly from: number
}

/**
 * The item count of an array, and where the items begin. A number: it needs at least that many
 * bytes.
 */
export function readList(bytes: Buffer, at: number, limit: number): List | number | undefined {
  if (at >= limit) return at + 1
  const token = bytes[at]!
  if (!isList(token)) return undefined
  if (token < 0xa0) return { count: token & 0x0f, from: at + 1 }
  const from = at + headers[token - 0xc0]!
  return from > limit ? from : { count: count(bytes, at, token), from }
}

/** The length after a token: of bytes, or of items. */
export function count(bytes: Buffer, at: number, token: number): number {
  switch (widths[token - 0xc0]) {
    case 1:
      return bytes[at + 1]!
    case 2:
      return (bytes[at + 1]! << 8) | bytes[at + 2]!
    case 4:
      return bytes.readUInt32BE(at + 1)
    default:
      return 0
  }
}

/** Whether a token begins an extension. */
export function isExtension(token: number): boolean {
  return (token >= 0xc7 && token < 0xca) || (token >= 0xd4 && token < 0xd9)
}

/** Whether a token begins a string. */
export function isText(token: number): boolean {
  return (token >= 0xa0 && token < 0xc0) || (token >= 0xd9 && token < 0xdc)
}

/** Whether a token begins an array. */
export function isList(token: number): boolean {
  return (token >= 0x90 && token < 0xa0) || token === 0xdc || token === 0xdd
}

/** Whether a token begins a map. */
export function isMap(token: number): boolean {
  return (token >= 0x80 && token < 0x90) || token === 0xde || token === 0xdf
}

/** Whether it is a number of more than 16 bits, for which a peer can predict V8's hash. */
export function isHashed(token: number): boolean {
  return hashed.has(token)
}
