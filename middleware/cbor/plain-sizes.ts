/** The sizes of the items whose first byte says it all. */

/**
 * By first byte: the size of a number, a short string, a boolean, null or undefined, in bytes; 0
 * for all other items. cbor-x may decode these items wherever any item may stand.
 */
export const plainSizes: Uint8Array = Uint8Array.from({ length: 256 }, (_, token) => {
  const major = token >> 5
  const low = token & 0x1f
  if (major === 2 || major === 3) return low < 24 ? 1 + low : 0
  if (major < 2) return low < 24 ? 1 : sizeOfNumber(low)
  if (major !== 7 || low < 20) return 0
  // A simple value of two bytes is checked elsewhere.
  return low < 24 ? 1 : low === 24 ? 0 : sizeOfNumber(low)
})

/** The size of a number with its value in the 1, 2, 4 or 8 bytes after the first one. */
function sizeOfNumber(low: number): number {
  return low <= 27 ? 1 + 2 ** (low - 24) : 0
}
