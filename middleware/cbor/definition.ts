/** Reads record definitions, in the one form that cbor-x writes. */

/** The tag of a record definition, and the first tag of a record. */
export const definition = 0xdfff
export const firstRecord = 0xe000
// cbor-x identifies records by 13 bits of their tags; it uses the tags from here on for other
// purposes.
const maxRecords = 0x1ff9
const two32 = 2 ** 32
const uint16 = 0x19
const shortest32 = 26

/** The beginning of a record definition: its id and its number of keys. */
export interface Definition {
  readonly id: number
  readonly keys: number
  /** The offset of the first key. */
  readonly from: number
}

/** Reads the number after a token, in 1, 2, 4 or 8 bytes. */
export function readArgument(bytes: Buffer, at: number, low: number): number {
  if (low === 24) return bytes[at]!
  if (low === 25) return (bytes[at]! << 8) | bytes[at + 1]!
  if (low === 26) return bytes.readUInt32BE(at)
  return bytes.readUInt32BE(at) * two32 + bytes.readUInt32BE(at + 4)
}

/**
 * Reads the beginning of a record definition: the tag in three bytes, a list, the id in two bytes,
 * and a list of the keys. Returns undefined if it has another form, and a number if more bytes are
 * needed: the offset up to which to read at least.
 */
export function readDefinition(
  bytes: Buffer,
  at: number,
  limit: number,
): Definition | number | undefined {
  if (bytes[at] !== 0xd9) return undefined
  const items = readList(bytes, at + 3, limit)
  if (typeof items !== 'object') return items
  const { count, from } = items
  if (from + 3 > limit) return from + 3
  const id = bytes.readUInt16BE(from + 1) - firstRecord
  if (bytes[from] !== uint16 || id < 0 || id >= maxRecords) return undefined
  const keys = readList(bytes, from + 3, limit)
  if (typeof keys !== 'object') return keys
  return keys.count === count - 2 ? { id, keys: keys.count, from: keys.from } : undefined
}

/** Reads the header of a list: its number of items, and the offset of the first one. */
function readList(
  bytes: Buffer,
  at: number,
  limit: number,
): { readonly count: number; readonly from: number } | number | undefined {
  if (at >= limit) return at + 1
  const low = bytes[at]! & 0x1f
  if (bytes[at]! >> 5 !== 4 || low > shortest32) return undefined
  const from = low < 24 ? at + 1 : at + 1 + 2 ** (low - 24)
  if (from > limit) return from
  return { count: low < 24 ? low : readArgument(bytes, at + 1, low), from }
}
