/** What `frames` is compared with: loops by hand, and the parsers of node-serialport. */

import { ByteLengthParser } from '@serialport/parser-byte-length'
import { DelimiterParser } from '@serialport/parser-delimiter'
import { PacketLengthParser } from '@serialport/parser-packet-length'
import { SlipDecoder } from '@serialport/parser-slip-encoder'
import type { Transform } from 'node:stream'
import { type FrameKind, frameSize, packetMark, startMark, sumOf } from './frame-kinds.ts'

/** Takes the whole frames of a chunk, and returns where the rest begins. */
type Loop = (bytes: Buffer, take: (body: Buffer) => void) => number

/** The least that finds frames of each kind. */
export const loops: Partial<Record<FrameKind, Loop>> = {
  'frames by length': byLength,
  'frames by delimiter': byFeed,
  'frames with checksum': withSum,
  'frames by slip': (bytes, take) => betweenFlags(bytes, 0xc0, (raw) => take(ofSlip(raw))),
  'frames by hdlc': (bytes, take) => betweenFlags(bytes, 0x7e, (raw) => take(ofHdlc(raw))),
  'frames by cobs': (bytes, take) => betweenFlags(bytes, 0, (raw) => take(ofCobs(raw))),
}

/** The parsers of node-serialport for the same bytes. */
export const parsers: Partial<Record<FrameKind, () => Transform>> = {
  'frames by delimiter': () => new DelimiterParser({ delimiter: '\n' }),
  'frames by slip': () => new SlipDecoder(),
  'frames by size': () => new ByteLengthParser({ length: frameSize }),
  'frames with a mark and a length': () => new PacketLengthParser({ delimiter: packetMark }),
}

function byLength(bytes: Buffer, take: (body: Buffer) => void): number {
  let at = 0
  while (at + 4 <= bytes.length) {
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) break
    take(bytes.subarray(at + 4, end))
    at = end
  }
  return at
}

function byFeed(bytes: Buffer, take: (body: Buffer) => void): number {
  let at = 0
  for (;;) {
    const end = bytes.indexOf(10, at)
    if (end < 0) return at
    take(bytes.subarray(at, end))
    at = end + 1
  }
}

function withSum(bytes: Buffer, take: (body: Buffer) => void): number {
  let at = 0
  while (at + 4 <= bytes.length) {
    if (bytes.readUInt16BE(at) !== startMark) throw new Error('no mark')
    const end = at + 4 + bytes.readUInt16BE(at + 2)
    if (end > bytes.length) break
    const body = bytes.subarray(at + 4, end - 2)
    if (sumOf(body) !== bytes.readUInt16BE(end - 2)) throw new Error('a wrong checksum')
    take(body)
    at = end
  }
  return at
}

/** Two flags in a row are not a frame. */
function betweenFlags(bytes: Buffer, flag: number, take: (raw: Buffer) => void): number {
  let at = 0
  for (;;) {
    const end = bytes.indexOf(flag, at)
    if (end < 0) return at
    if (end > at) take(bytes.subarray(at, end))
    at = end + 1
  }
}

function ofSlip(raw: Buffer): Buffer {
  const body = Buffer.allocUnsafe(raw.length)
  let to = 0
  for (let at = 0; at < raw.length; at++) {
    let byte = raw[at]!
    if (byte === 0xdb) {
      byte = raw[++at]!
      if (byte === 0xdc) byte = 0xc0
      else if (byte === 0xdd) byte = 0xdb
      else throw new Error('a wrong escape')
    }
    body[to++] = byte
  }
  return body.subarray(0, to)
}

function ofHdlc(raw: Buffer): Buffer {
  const body = Buffer.allocUnsafe(raw.length)
  let to = 0
  for (let at = 0; at < raw.length; at++) {
    let byte = raw[at]!
    if (byte === 0x7d) {
      if (++at === raw.length) throw new Error('a wrong escape')
      byte = raw[at]! ^ 0x20
    }
    body[to++] = byte
  }
  return body.subarray(0, to)
}

function ofCobs(raw: Buffer): Buffer {
  const body = Buffer.allocUnsafe(raw.length)
  let to = 0
  for (let at = 0; at < raw.length;) {
    const code = raw[at]!
    const end = at + code
    if (end > raw.length) throw new Error('a wrong block')
    for (at += 1; at < end; at++) body[to++] = raw[at]!
    if (code < 0xff && end < raw.length) body[to++] = 0
  }
  return body.subarray(0, to)
}
