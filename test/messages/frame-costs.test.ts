/** What bad or slow input may cost: work and memory in proportion to its bytes. */

import test from 'ava'
import fc from 'fast-check'
import { Duplex } from 'node:stream'
import {
  Cio,
  type CioError,
  type FramesOptions,
  type StreamContext,
  frames,
} from '../../src/index.ts'
import { FrameDecoder, framesOf } from '../../src/kit.ts'
import { decodeFrames, everyCut, singly } from '../support/frame-input.ts'
import { nextEvent } from '../support/transports.ts'
import { many } from '../support/long.ts'

const mebibyte = 1 << 20

/** A codec on a connection without a network; fulfils with the error that ends it. */
async function endOf(
  options: FramesOptions,
  chunks: readonly Buffer[],
): Promise<{ error: CioError; messages: number }> {
  let messages = 0
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const app = new Cio()
    .useConnection(frames(options))
    .useConnection((ctx) => ctx.messages.each(() => (messages += 1)))
  const told = nextEvent(app, 'remoteError')
  app.handle(stream)
  for (const chunk of chunks) stream.push(chunk)
  stream.push(null)
  const [error] = await told
  await app.close({ timeout: 0 })
  return { error: error as CioError, messages }
}

/** Options with a checksum that counts the bytes that it was computed over. */
function counting(): { readonly options: FramesOptions; readonly summed: () => number } {
  let count = 0
  const of = (bytes: Uint8Array): number => {
    count += bytes.length
    return 0xabcd
  }
  return {
    options: {
      start: '<',
      length: { bytes: 2, counts: 'body' },
      checksum: { of, bytes: 2 },
      maxLength: 10_000,
      resync: true,
    },
    summed: () => count,
  }
}

test('a flood of start marks that each promise 8 kB is bounded', async (t) => {
  const { options, summed } = counting()
  // Each mark has the length 0x1f3c, and begins the length of the one before it.
  const flood = Buffer.alloc(mebibyte, Buffer.from('3c1f3c', 'hex'))
  const { error, messages } = await endOf(options, [flood])
  t.is(error.code, 'ERR_CIO_SYNTAX')
  t.is(messages, 0)
  t.true(summed() < 300_000, `${summed()} bytes`)
})

test('without a bound on what is skipped, a flood of start marks costs in proportion to its bytes', (t) => {
  const good = Buffer.from('3c000161abcd', 'hex')
  const input = Buffer.concat([
    Buffer.alloc(mebibyte, Buffer.from('3c1f3c', 'hex')),
    Buffer.alloc(30_000, good),
  ])
  const ctx = { app: new Cio() } as unknown as StreamContext
  for (const maxSkipped of [Infinity, Number.MAX_SAFE_INTEGER]) {
    for (const by of ['a length', 'a function']) {
      const { options, summed } = counting()
      let looked = 0
      const measure = (bytes: Buffer): number | undefined => {
        if (bytes.length < good.length) return undefined
        if (bytes.indexOf(good) === 0) return good.length
        if (bytes.length < 8_000) return undefined
        looked += bytes.length
        return NaN
      }
      const format = by === 'a length' ? options : { start: '<', measure, whole: true }
      const resync = { maxSkipped }
      const lengths = [input.length, 1_000, 997].map((cut) => {
        const found: Buffer[] = []
        const formats = framesOf('test', 10_000, { ...format, resync })
        const decoder = formats.decoder(ctx, (frame) => frame)
        for (let at = 0; at < input.length; at += cut) {
          decoder.decode(input.subarray(at, at + cut), found)
        }
        decoder.close?.()
        return found.length
      })
      // Those frames come through that no wrong length of the flood covers, wherever it is cut.
      t.true(lengths[0]! > 2_000, `${lengths[0]} frames by ${by}`)
      t.deepEqual(new Set(lengths).size, 1)
      t.true(summed() + looked < 30 * mebibyte, `${summed()} and ${looked} bytes by ${by}`)
    }
  }
})

test('good frames between the marks of a flood do not make its work unbounded', async (t) => {
  const { options, summed } = counting()
  // Seven marks that promise 8 kB, and a frame that is good.
  const round = Buffer.concat([
    Buffer.alloc(21, Buffer.from('3c1f3c', 'hex')),
    Buffer.from('3c000161abcd', 'hex'),
  ])
  const flood = Buffer.alloc(mebibyte, round)
  const { error } = await endOf(options, [flood])
  t.is(error.code, 'ERR_CIO_SYNTAX')
  t.true(summed() < 16 * mebibyte, `${summed()} bytes`)
})

test('what a function has looked at before it threw counts, as a checksum does', async (t) => {
  const flood = Buffer.alloc(mebibyte, Buffer.from('3c1f3c', 'hex'))
  for (const found of [() => NaN, () => 20_000, () => -1]) {
    for (const throws of [true, false]) {
      let looked = 0
      const measure = (bytes: Buffer): number | undefined => {
        if (bytes.length < 8_000) return undefined
        looked += bytes.length
        if (throws) throw new Error('a wrong sum')
        return found()
      }
      const options: FramesOptions = { start: '<', measure, maxLength: 10_000, resync: true }
      const { error } = await endOf(options, [flood])
      t.is(error.code, 'ERR_CIO_SYNTAX')
      t.true(looked < 300_000, `${looked} bytes`)
    }
  }
})

test('what was searched for the end of a DLE frame counts, where a DLE after it is not doubled', async (t) => {
  // Each doubled DLE with an STX after it looks like the beginning of a frame up to the last bytes.
  const flood = Buffer.concat([
    Buffer.from('1002', 'hex'),
    Buffer.alloc(32_768, Buffer.from('10100241', 'hex')),
    Buffer.from('1041', 'hex'),
  ])
  const { error, messages } = await endOf({ stuffing: 'dle', resync: true }, [flood])
  // Otherwise the input ends first, after each of 8,192 marks has been searched to its end.
  t.is(error.code, 'ERR_CIO_SYNTAX')
  t.is(messages, 0)
})

test('a search in a long frame that comes in small pieces does not copy the frame for each', (t) => {
  const options: FramesOptions = {
    start: '<',
    length: { bytes: 4, counts: 'body' },
    end: '>',
    resync: { maxSkipped: Infinity },
  }
  const ctx = { app: new Cio() } as unknown as StreamContext
  const decoder = framesOf('test', mebibyte, options).decoder(ctx, (frame) => frame)
  // Each mark promises a mebibyte, which does not end with the mark.
  const unit = Buffer.from('3c000fffff', 'hex')
  const found: Buffer[] = []
  decoder.decode(Buffer.alloc(mebibyte, unit), found)
  const before = process.cpuUsage()
  for (let piece = 0; piece < 50_000; piece++) decoder.decode(unit, found)
  decoder.close?.()
  // A copy for each is 50 GB.
  t.true(process.cpuUsage(before).user < 2_500_000)
  t.is(found.length, 0)
})

test('a function that looks at all that it sees costs the same for many frames in one chunk', (t) => {
  let looked = 0
  const measure = (bytes: Buffer): number | undefined => {
    looked += bytes.length
    const end = bytes.toString('latin1').indexOf('>')
    return end < 0 ? undefined : end + 1
  }
  const frame = Buffer.from(`${'x'.repeat(99)}>`)
  const { frames: found } = decodeFrames({ measure, whole: true }, [Buffer.alloc(100_000, frame)])
  t.is(found.length, 1_000)
  t.true(looked < 300_000, `${looked} bytes`)
})

test('noise with a mark that is rare, or with none, is searched once', async (t) => {
  const options: FramesOptions = {
    oneOf: [
      { start: 'rare', length: 2 },
      { start: '<', length: 2, checksum: { of: () => 1, bytes: 1 } },
    ],
    resync: { maxSkipped: Infinity },
    maxLength: 100,
  }
  // Every second byte begins a frame that is too long.
  const { error } = await endOf(options, [Buffer.alloc(mebibyte, '<~')])
  t.is(error.code, 'ERR_CIO_TRUNCATED')
})

const kinds: readonly [title: string, options: FramesOptions][] = [
  ['a length', { length: 4 }],
  ['a length in digits', { length: { as: 'decimal', until: ':', counts: 'body' }, end: ',' }],
  [
    'marks and a checksum',
    { start: '<', length: 3, checksum: { of: () => 1, bytes: 1 }, end: '>' },
  ],
  ['a delimiter', { delimiter: 'xxy' }],
  ['several delimiters', { delimiter: ['xxy', 'xz', '\n'] }],
  ['a size', { size: mebibyte + 10 }],
  ['SLIP', { stuffing: 'slip' }],
  ['HDLC', { stuffing: 'hdlc' }],
  ['COBS', { stuffing: 'cobs' }],
  ['DLE', { stuffing: 'dle' }],
  ['a start and escapes', { start: '<', stuffing: { flag: 0x3e, escape: 0x5c, xor: 0x20 } }],
  ['a function', { measure: (bytes) => (bytes.length < 4 ? undefined : 4 + bytes.readUInt32BE()) }],
  ['one of several', { oneOf: [{ start: '<', size: 2 }, { delimiter: '\n' }] }],
]

const fewKinds = kinds.filter(([title]) => ['a length', 'a delimiter', 'COBS'].includes(title))
for (const [title, options] of many(kinds, fewKinds)) {
  test(`${title}: a frame of 1 MiB in pieces of one byte costs in proportion to its bytes`, (t) => {
    const body = Buffer.alloc('size' in options ? mebibyte + 10 : mebibyte, 'x')
    const { wrap, framing } = framesOf('test', 2 * mebibyte, options)
    const isMeasured = 'measure' in options
    const length = Buffer.alloc(4)
    length.writeUInt32BE(mebibyte)
    const frame = wrap(isMeasured ? Buffer.concat([length, body]) : body)
    // Copies of what is held would be of the square of it: some 500 GB.
    const decoder = new FrameDecoder(
      'test',
      framing((content) => content),
    )
    const found: Buffer[] = []
    const before = process.cpuUsage()
    for (const piece of singly(frame)) decoder.decode(piece, found)
    t.true(process.cpuUsage(before).user < 30_000_000)
    t.is(found[0]?.length, isMeasured ? mebibyte + 4 : body.length)
  })
}

test('a varint is the same cut at every byte, and never a run of empty frames (netty/netty#17549)', (t) => {
  const body = Buffer.alloc(2 * mebibyte + 5, 'x')
  const frame = framesOf('test', 4 * mebibyte, { length: 'varint' }).wrap(body)
  for (let cut = 0; cut <= 6; cut++) {
    const chunks = [frame.subarray(0, cut), frame.subarray(cut)]
    const { frames: found, error } = decodeFrames({ length: 'varint' }, chunks, 4 * mebibyte)
    t.is(error, undefined)
    t.is(found.length, 1)
    t.is(found[0]!.length, 2 * body.length)
  }
})

test('a varint has a bound before its frame is whole (netty/netty#16633)', (t) => {
  const { error } = decodeFrames({ length: 'varint' }, [Buffer.from('ffffff7f', 'hex')], 1_000)
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('the bound is on the message after all arithmetic (tokio-rs/tokio#4815)', (t) => {
  const options: FramesOptions = { length: { bytes: 2, counts: 'frame' } }
  const frame = Buffer.concat([Buffer.of(0, 12), Buffer.alloc(10, 'x')])
  t.is(decodeFrames(options, [frame], 10).frames.length, 1)
  t.is(decodeFrames(options, [frame], 9).error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('a RESP array in single bytes keeps its place', (t) => {
  let looks = 0
  const options: FramesOptions = {
    measure(bytes, kept) {
      for (; (kept.at ?? 0) < bytes.length; kept.at = (kept.at ?? 0) + 1) {
        looks += 1
        if (bytes[kept.at ?? 0] === 0x0a) return (kept.at ?? 0) + 1
      }
      return undefined
    },
  }
  const input = Buffer.from(`${'x'.repeat(10_000)}\n`)
  t.is(decodeFrames(options, singly(input)).frames.length, 1)
  t.is(looks, input.length)
})

const checksum = fc.record(
  {
    of: fc.constant(
      (bytes: Uint8Array) => bytes.reduce((sum, byte) => sum * 31 + byte, 7) % 65_537,
    ),
    bytes: fc.constantFrom(1, 2, 4),
    as: fc.constantFrom('uint', 'hex', 'decimal'),
    over: fc.constantFrom('frame', 'header', 'body'),
    before: fc.constantFrom('*', '10='),
    afterDelimiter: fc.boolean(),
  },
  { requiredKeys: ['of', 'bytes'] },
)
const field = fc.record(
  {
    bytes: fc.constantFrom(1, 2, 3, 6),
    at: fc.nat(4),
    header: fc.nat(8),
    counts: fc.constantFrom('rest', 'frame', 'body'),
    plus: fc.integer({ min: -3, max: 3 }),
    mask: fc.constantFrom(0x7f, 0x3ff, 0x3f8),
  },
  { requiredKeys: ['bytes'] },
)
const digits = fc.record(
  {
    as: fc.constantFrom('decimal', 'hex'),
    until: fc.constantFrom(':', '\r\n'),
    counts: fc.constantFrom('rest', 'frame', 'body'),
  },
  { requiredKeys: ['as', 'until'] },
)
const start = fc.constantFrom('<', 'ab', Buffer.of(0xff))
const end = fc.constantFrom('>', '\r\n')
const whole = fc.boolean()
const length = fc.oneof(fc.constantFrom(1, 2, 3, 4, 8, 'varint'), field, digits)
const delimiter = fc.constantFrom('\n', ['\r\n', '\n'], '--')
const stuffing = fc.constantFrom('slip', 'hdlc', 'cobs', 'dle')
const escapes = fc.constantFrom(
  { flag: 0x3e, escape: 0x5c, xor: 0x20 },
  { flag: 1, escape: 2, map: { 1: 3, 2: 4 } },
)
const size = fc.integer({ min: 1, max: 12 })
const optional = { requiredKeys: [] }

/** Options as a user might put them together. */
const anyOptions = fc.oneof(
  fc.record({ length, start, end, checksum, whole }, optional),
  fc.record({ delimiter, start, checksum, whole }, { requiredKeys: ['delimiter'] }),
  fc.record({ delimiter, start, end, checksum, whole }, { requiredKeys: ['delimiter'] }),
  fc.record({ stuffing, checksum }, { requiredKeys: ['stuffing'] }),
  fc.record({ stuffing: escapes, start, checksum }, { requiredKeys: ['stuffing'] }),
  fc.record({ size, start, end, checksum, whole }, { requiredKeys: ['size'] }),
) as fc.Arbitrary<FramesOptions>

test('options that are taken encode what they decode, whole and cut; input of any kind ends in errors of the peer', (t) => {
  let taken = 0
  const property = fc.property(
    anyOptions,
    fc.uint8Array({ maxLength: 12 }),
    fc.uint8Array({ maxLength: 30 }),
    (options, body, noise) => {
      let format
      try {
        format = framesOf('test', 1_000, options)
      } catch (error) {
        t.is((error as CioError).code, 'ERR_CIO_OPTION')
        return
      }
      taken += 1
      let frame: Buffer | undefined
      try {
        frame = format.wrap(body)
      } catch (error) {
        t.is((error as CioError).code, 'ERR_CIO_ENCODE')
      }
      if (frame) {
        const isWhole = (options as { whole?: boolean }).whole === true
        const message = (isWhole ? frame : Buffer.from(body)).toString('hex')
        const twice = Buffer.concat([frame, frame])
        for (const chunks of [[twice], [...singly(twice)]]) {
          const { frames: found, error } = decodeFrames(options, chunks, 1_000)
          t.is(error, undefined)
          t.deepEqual(found, [message, message])
        }
      }
      const input = Buffer.concat([frame ?? Buffer.alloc(0), noise])
      const whole = decodeFrames(options, [input], 1_000)
      for (const chunks of everyCut(input)) {
        const { frames: found, error } = decodeFrames(options, chunks, 1_000)
        t.is(error?.code, whole.error?.code)
        t.deepEqual(found, whole.frames)
      }
      if (whole.error) t.is(whole.error.fault, 'remote')
    },
  )
  const runs = many(4_000, 100)
  fc.assert(property, { numRuns: runs })
  t.true(taken > runs / 4, `${taken} taken`)
})

for (const options of [
  { length: 4 },
  { delimiter: '\n' },
  { start: '<', delimiter: '\n' },
  { stuffing: 'slip' },
] satisfies FramesOptions[]) {
  test(`${JSON.stringify(options)}: what follows a frame in two chunks is not copied`, (t) => {
    const { framing, wrap } = framesOf('frames', 10_000, options)
    const decoder = new FrameDecoder(
      'frames',
      framing((frame) => frame),
    )
    const one = wrap('a'.repeat(99))
    const all = Buffer.concat(Array.from({ length: 600 }, () => one))
    for (const cut of [1, 3, 50, one.length - 1]) {
      const first: Buffer[] = []
      decoder.decode(all.subarray(0, cut), first)
      t.is(first.length, 0)
      const messages: Buffer[] = []
      decoder.decode(all.subarray(cut), messages)
      t.is(messages.length, 600)
      const copied = messages.filter(({ buffer }) => buffer !== all.buffer)
      t.true(copied.length <= 10, `${copied.length} of 600, cut at ${cut}`)
    }
  })
}
