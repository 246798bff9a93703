/** The contract of every codec, for each kind of frames beside those of frames.test.ts. */

import test from 'ava'
import fc from 'fast-check'
import { type FramesOptions, frames } from '../../src/index.ts'
import { codecContract } from '../contracts/codec.ts'

/** A length of three bytes. */
function uint24(value: number): Buffer {
  return Buffer.of(value >> 16, (value >> 8) & 0xff, value & 0xff)
}

/** Some kinds, with their obvious encoding. The checksum is one that costs nothing. */
const kinds: readonly {
  readonly title: string
  readonly options: FramesOptions
  readonly encode: (body: Buffer) => Buffer
}[] = [
  {
    title: 'marks, a length and a checksum',
    options: {
      start: 'ab',
      length: { bytes: 3, counts: 'body' },
      checksum: { of: (bytes) => bytes.length, bytes: 2 },
      end: '\r\n',
    },
    encode: (body) => {
      const covered = Buffer.concat([Buffer.from('ab'), uint24(body.length), body])
      const sum = Buffer.of((covered.length >> 8) & 0xff, covered.length & 0xff)
      return Buffer.concat([covered, sum, Buffer.from('\r\n')])
    },
  },
  {
    title: 'a length in digits',
    options: { length: { as: 'decimal', until: ':', counts: 'body' }, end: ',' },
    encode: (body) => Buffer.concat([Buffer.from(`${body.length}:`), body, Buffer.from(',')]),
  },
  {
    title: 'HDLC',
    options: { stuffing: 'hdlc' },
    encode: (body) =>
      Buffer.from([
        0x7e,
        ...[...body].flatMap((byte) =>
          byte === 0x7e || byte === 0x7d ? [0x7d, byte ^ 0x20] : [byte],
        ),
        0x7e,
      ]),
  },
  {
    title: 'COBS',
    options: { stuffing: 'cobs' },
    encode: (body) => {
      const out: number[] = []
      for (const block of blocks([...body])) out.push(block.length + 1, ...block)
      return Buffer.from([...out, 0])
    },
  },
  {
    title: 'DLE',
    options: { stuffing: 'dle' },
    encode: (body) =>
      Buffer.from([
        0x10,
        2,
        ...[...body].flatMap((byte) => (byte === 0x10 ? [0x10, 0x10] : [byte])),
        0x10,
        3,
      ]),
  },
  {
    title: 'a function',
    options: {
      start: 'ab',
      measure: (bytes) => (bytes.length < 5 ? undefined : 5 + bytes.readUIntBE(2, 3)),
      whole: true,
    },
    encode: (body) => body,
  },
]

/** The parts between zeros, of 254 bytes at most; by the paper, a full one has no zero after it. */
function blocks(bytes: readonly number[]): number[][] {
  const all: number[][] = [[]]
  for (const [index, byte] of bytes.entries()) {
    if (byte === 0) all.push([])
    else all.at(-1)!.push(byte)
    if (all.at(-1)!.length === 254 && index < bytes.length - 1) all.push([])
  }
  return all
}

for (const { title, options, encode } of kinds) {
  const isWhole = 'measure' in options
  const whole = (body: Uint8Array): Buffer =>
    isWhole ? Buffer.concat([Buffer.from('ab'), uint24(body.length), body]) : Buffer.from(body)
  codecContract<Buffer, string | Uint8Array>(titled(title), {
    codec: (bounds) => frames({ ...options, ...bounds }),
    arbitrary: fc.uint8Array({ minLength: title === 'HDLC' ? 1 : 0, maxLength: 150 }).map(whole),
    ofLength: (count) => (isWhole ? whole(Buffer.alloc(count - 5, 'x')) : Buffer.alloc(count, 'x')),
    encode,
    truncated: 'ERR_CIO_TRUNCATED',
  })
}

/** One `test` for each of several contracts in a file, because titles must differ. */
function titled(title: string): typeof test {
  const register =
    (given: unknown) =>
    (claim: string, ...rest: unknown[]): unknown =>
      (given as (...all: unknown[]) => unknown)(`${title}: ${claim}`, ...rest)
  return Object.assign(register(test), { serial: register(test.serial) }) as unknown as typeof test
}
