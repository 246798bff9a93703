/** Draws the options of `frames`: all kinds, and around them all that they allow. */

import type { FramesOptions } from '../../src/index.ts'
import { framesOf } from '../../src/kit.ts'
import type { FormatOptions } from '../../src/messages/frame-formats.ts'
import type { Random } from './engine.ts'

const mostTries = 200

/** The same options for the same numbers. Some draws are refused; so it draws until one is not. */
export function drawOptions(random: Random, maxLength: number): FormatOptions {
  for (let tries = 0; tries < mostTries; tries++) {
    const options = draw(random)
    try {
      framesOf('test', maxLength, options as FramesOptions)
      return options
    } catch {
      continue
    }
  }
  return {}
}

function draw(random: Random): FormatOptions {
  const one = <Value>(...values: readonly Value[]): Value =>
    values[Math.floor(random() * values.length)]!
  const maybe = <Value>(name: string, value: () => Value, share = 0.5): Record<string, Value> =>
    random() < share ? { [name]: value() } : {}
  const endian = (): string => one('big', 'little')
  const starts = ['<', 'ab', Buffer.of(0xff), Buffer.of(0x10), Buffer.of(0x10, 0x41), 'aab']

  const checksum = (): object => ({
    of: (bytes: Uint8Array) => bytes.reduce((sum, byte) => (sum * 31 + byte) % 65_537, 7),
    bytes: one(1, 2, 3, 4),
    ...maybe('as', () => one('uint', 'decimal', 'hex')),
    ...maybe('over', () => one('frame', 'header', 'body')),
    ...maybe('before', () => one('*', '10='), 0.3),
    ...maybe('afterDelimiter', () => true, 0.3),
    ...maybe('endian', endian, 0.2),
  })
  const field = (): unknown =>
    one<() => unknown>(
      () => one<unknown>(1, 2, 3, 4, 5, 8, 'varint'),
      () => ({ as: 'varint', ...maybe('maxBytes', () => one(1, 2, 8)), ...place() }),
      () => ({
        as: one('decimal', 'hex'),
        ...one({ bytes: one(1, 2, 4) }, { until: one(':', '\r\n', ' ') }),
        ...maybe('maxBytes', () => one(1, 3), 0.2),
        ...place(),
      }),
      () => ({
        bytes: one(1, 2, 3, 4, 6),
        ...maybe('mask', () => one(0x7f, 0x3ff, 0x3f8, 0xff_f0), 0.3),
        ...maybe('endian', endian, 0.2),
        ...place(),
      }),
    )()
  const place = (): object => ({
    ...maybe('at', () => one(1, 2, 3, 4), 0.3),
    ...maybe('header', () => one(2, 4, 5, 8), 0.3),
    ...maybe('counts', () => one('rest', 'frame', 'body')),
    ...maybe('plus', () => one(-2, -1, 1, 3), 0.3),
  })
  const around = (): object => ({
    ...maybe('start', () => one(...starts)),
    ...maybe('end', () => one<unknown>('>', '\r\n', Buffer.of(0)), 0.3),
    ...maybe('checksum', checksum),
    ...maybe('endian', endian, 0.2),
    ...maybe('whole', () => true, 0.3),
  })
  const stuffing = (): unknown =>
    one<unknown>(
      'slip',
      'hdlc',
      'cobs',
      'dle',
      { flag: 0x3e, escape: 0x5c, xor: 0x20 },
      { flag: 0x0a, escape: 0x5c, xor: 0x40, also: [0x0d, 0x61] },
      { flag: 1, escape: 2, map: { 1: 3, 2: 4 } },
    )
  const measure =
    (): NonNullable<FormatOptions['measure']> =>
    // To a semicolon, or by the second byte.
    (bytes, kept) => {
      if (bytes.length < 2) return undefined
      if (bytes[1]! < 0x40) return 4 + bytes[1]!
      kept.seen = Math.max(kept.seen ?? 2, 2)
      const found = bytes.indexOf(0x3b, kept.seen)
      kept.seen = bytes.length
      return found < 0 ? undefined : found + 1
    }
  const kind = (): object =>
    one<() => object>(
      () => maybe('length', field, 0.9),
      () => ({ length: field() }),
      () => ({ delimiter: one<unknown>('\n', ';', '\r\n', 'aab', ['\r\n', '\n'], ['xxy', 'xy']) }),
      () => ({ size: one(1, 2, 5, 12) }),
      () => ({ stuffing: stuffing() }),
      () => ({ measure: measure() }),
    )()
  if (random() < 0.15) {
    return { oneOf: Array.from({ length: one(1, 2, 3) }, () => ({ ...kind(), ...around() })) }
  }
  return { ...kind(), ...around() }
}
