/** Numbers in frames: unsigned integers of one to eight bytes, and digits. */

import type { Endian } from './options.ts'

const base = 2 ** 32

/** An unsigned integer. Above 2^53 it is not exact, but no length is as large as that. */
export function readUint(bytes: Buffer, at: number, width: number, endian: Endian): number {
  let value = 0
  for (let index = 0; index < width; index++) {
    value = 256 * value + bytes[endian === 'big' ? at + index : at + width - 1 - index]!
  }
  return value
}

/** Writes an unsigned integer, which must fit. */
export function writeUint(
  bytes: Buffer,
  value: number,
  at: number,
  width: number,
  endian: Endian,
): void {
  let rest = value
  for (let index = 0; index < width; index++) {
    bytes[endian === 'big' ? at + width - 1 - index : at + index] = rest % 256
    rest = Math.floor(rest / 256)
  }
}

/** The value of a digit; -1 for any other byte. */
export function digit(byte: number | undefined, radix: 10 | 16): number {
  if (byte === undefined) return -1
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  if (radix === 10) return -1
  const letter = byte | 0x20
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : -1
}

/** The number in so many digits; -1 if one of the bytes is not a digit. */
export function readDigits(bytes: Buffer, at: number, count: number, radix: 10 | 16): number {
  let value = 0
  for (let index = at; index < at + count; index++) {
    const one = digit(bytes[index], radix)
    if (one < 0) return -1
    value = value * radix + one
  }
  return value
}

/** The bits that are in both numbers, also for more than 32 bits. */
export function maskBits(value: number, mask: number): number {
  const high = (Math.floor(value / base) & Math.floor(mask / base)) >>> 0
  return high * base + ((value & mask) >>> 0)
}

/** The lowest bit of a number that is not 0. */
export function lowestBit(value: number): number {
  let bit = 1
  while (value % (2 * bit) === 0) bit *= 2
  return bit
}

/** The unsigned LEB128 of a number. */
export function writeVarint(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  bytes.push(rest)
  return Buffer.from(bytes)
}
