/** The frames that `codecs.ts` compares, and their bytes. */

import type { frames } from 'cio'

/** A name for each. */
export type FrameKind = keyof typeof frameOptions

/** The mark before each frame with a checksum, and before one with a mark and a length. */
export const startMark = 0xaa55
export const packetMark = 0xaa
/** Bytes of each frame by size. */
export const frameSize = 128

/** The options of `frames`. */
export const frameOptions = {
  'frames by length': { length: 4 },
  'frames by delimiter': { delimiter: '\n' },
  'frames by size': { size: frameSize },
  'frames with a mark and a length': { start: Buffer.of(packetMark), length: 1 },
  'frames with checksum': {
    start: uint16(startMark),
    length: 2,
    checksum: { of: sumOf, bytes: 2, over: 'body' },
  },
  'frames by slip': { stuffing: 'slip' },
  'frames by hdlc': { stuffing: 'hdlc' },
  'frames by cobs': { stuffing: 'cobs' },
} as const satisfies Record<string, Parameters<typeof frames>[0]>

/** A checksum that costs little: the sum of all bytes. */
export function sumOf(bytes: Uint8Array): number {
  let sum = 0
  for (let at = 0; at < bytes.length; at++) sum += bytes[at]!
  return sum & 0xffff
}

/** The frame of a message, by no code of Cio. */
export function frameOf(kind: FrameKind, text: string): Buffer {
  return written[kind](Buffer.from(text))
}

const written: Record<FrameKind, (body: Buffer) => Buffer> = {
  'frames by length': (body) => Buffer.concat([uint16(0), uint16(body.length), body]),
  'frames by delimiter': (body) => Buffer.concat([body, Buffer.from('\n')]),
  'frames by size': (body) => Buffer.concat([body, Buffer.alloc(frameSize - body.length)]),
  'frames with a mark and a length': (body) =>
    Buffer.concat([Buffer.of(packetMark, body.length), body]),
  'frames with checksum': (body) =>
    Buffer.concat([uint16(startMark), uint16(body.length + 2), body, uint16(sumOf(body))]),
  'frames by slip': (body) =>
    between(0xc0, stuffed(tenth(body, 0xc0, 0xdb), { 0xc0: 0xdc, 0xdb: 0xdd }, 0xdb)),
  'frames by hdlc': (body) =>
    between(0x7e, stuffed(tenth(body, 0x7e, 0x7d), { 0x7e: 0x5e, 0x7d: 0x5d }, 0x7d)),
  'frames by cobs': (body) => Buffer.concat([blocks(tenth(body, 0, 0)), Buffer.of(0)]),
}

function uint16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 0xff)
}

/** Puts a byte that is escaped at every tenth place: one of the two in turns. */
function tenth(body: Buffer, one: number, other: number): Buffer {
  for (let at = 9; at < body.length; at += 10) body[at] = at % 20 === 9 ? one : other
  return body
}

function stuffed(body: Buffer, codes: Readonly<Record<number, number>>, escape: number): Buffer {
  return Buffer.from(
    Array.from(body).flatMap((byte) => (byte in codes ? [escape, codes[byte]!] : byte)),
  )
}

function between(flag: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.of(flag), content, Buffer.of(flag)])
}

/** COBS of a body with no 254 bytes in a row without a zero. */
function blocks(body: Buffer): Buffer {
  const encoded: number[] = []
  for (let from = 0; from <= body.length;) {
    const zero = body.indexOf(0, from)
    const end = zero < 0 ? body.length : zero
    encoded.push(end - from + 1, ...body.subarray(from, end))
    from = end + 1
  }
  return Buffer.from(encoded)
}
