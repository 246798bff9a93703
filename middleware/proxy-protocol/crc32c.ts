/** CRC-32C (RFC 4960, appendix B). Node has only the other CRC-32. */

const polynomial = 0x82f63b78
const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1
  return value
})

/** The checksum of bytes; `before` continues the checksum of the bytes in front of them. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  let value = ~before
  for (const byte of bytes) value = table[(value ^ byte) & 0xff]! ^ (value >>> 8)
  return ~value >>> 0
}
