import test from 'ava'
import { Duplex } from 'node:stream'
import { Cio, type CioError, type FramesOptions, codec, frames } from '../../src/index.ts'
import { checksums } from '../fixtures/wires/checksums.ts'
import { decodeFrames, encodeFrame, everyCut, singly } from '../support/frame-input.ts'
import { nextEvent } from '../support/transports.ts'

const xor8 = checksums.xor8!
const text = (...hex: string[]): string[] => hex.map((one) => Buffer.from(one, 'hex').toString())
const read = (options: FramesOptions, ...chunks: string[]): string[] =>
  text(
    ...decodeFrames(
      options,
      chunks.map((chunk) => Buffer.from(chunk, 'latin1')),
    ).frames,
  )
const why = (options: FramesOptions, input: string): string | undefined =>
  decodeFrames(options, [Buffer.from(input, 'latin1')]).error?.message

// What cannot be meant, with a word of the message. The types refuse most of it as well.
const refused: readonly [options: object, words: RegExp][] = [
  [{ length: 2, delimiter: '\n' }, /`length` and `delimiter` exclude each other/],
  [{ size: 2, measure: () => 2 }, /`size` and `measure` exclude each other/],
  [{ lenght: 2 }, /did you mean `length`/],
  [{ length: { byte: 2 } }, /did you mean `bytes`/],
  [{ length: {} }, /give `bytes`/],
  [{ length: 0 }, /1 to 8/],
  [{ length: { bytes: 9 } }, /from 1 to 8/],
  [{ length: { as: 'bcd', bytes: 2 } }, /`varint`/],
  [{ length: { as: 'varint', bytes: 2 } }, /`maxBytes` bounds it/],
  [{ length: { as: 'decimal' } }, /one of `bytes` and `until`/],
  [{ length: { as: 'decimal', bytes: 4, until: ':' } }, /one of `bytes` and `until`/],
  [{ length: { as: 'hex', until: 'a' } }, /begins with a digit/],
  [{ length: { bytes: 2, until: ':' } }, /`until` is for digits/],
  [{ length: { bytes: 2, maxBytes: 3 } }, /`maxBytes` is for a length without fixed/],
  [{ length: { as: 'varint', maxBytes: 9 } }, /from 1 to 8/],
  [{ length: { as: 'varint', mask: 7 } }, /`mask` and `endian` are for an integer/],
  [{ length: { bytes: 1, mask: 256 } }, /from 1 to 255/],
  [{ length: { bytes: 2, at: 4 } }, /give `whole`/],
  [{ length: { bytes: 2, header: 4 } }, /give `whole`/],
  [{ length: { bytes: 2, header: 1 }, whole: true }, /from 2 to/],
  [{ start: 'ab', length: { bytes: 2, at: 1 }, whole: true }, /from 2 to/],
  [{ length: { as: 'varint', header: 4 }, whole: true }, /the width of this field varies/],
  [{ length: { bytes: 2, counts: 'all' } }, /`rest`, `frame`, `body`/],
  [{ length: { bytes: 2, plus: 0.5 } }, /whole number/],
  [{ delimiter: [] }, /at least one/],
  [{ delimiter: ['\n', '\n\n'] }, /is never found/],
  [{ delimiter: '\xaa' }, /Buffer\.from\('aa55', 'hex'\)/],
  [{ start: '', length: 2 }, /at least one character or byte/],
  [{ delimiter: '\n', end: '\n' }, /the delimiter is the end/],
  [{ start: '\x02', end: '\x03' }, /give `delimiter`/],
  [{ oneOf: [{ start: 'a', end: 'b' }] }, /oneOf\[0\]: .*give `delimiter`/],
  [{ delimiter: '\n', end: '\n', checksum: { of: xor8, bytes: 2, as: 'hex' } }, /afterDelimiter/],
  [{ length: 2, checksum: { of: xor8, bytes: 1, afterDelimiter: true } }, /needs `delimiter`/],
  [
    { stuffing: 'dle', checksum: { of: xor8, bytes: 1, afterDelimiter: true } },
    /needs `delimiter`/,
  ],
  [{ delimiter: '\n', checksum: { of: xor8, bytes: 1, afterDelimiter: 1 } }, /true or false/],
  [
    { delimiter: '\n', checksum: { of: xor8, bytes: 1 } },
    /may contain the delimiter.*`afterDelimiter`/,
  ],
  [{ delimiter: 'E', checksum: { of: xor8, bytes: 2, as: 'hex' } }, /may contain the delimiter/],
  [{ length: 2, checksum: { bytes: 2 } }, /`checksum\.of` to be a function/],
  [{ length: 2, checksum: { of: xor8, bytes: 5 } }, /from 1 to 4/],
  [{ length: 2, checksum: { of: xor8, bytes: 1, over: 'all' } }, /`frame`, `header`, `body`/],
  [{ length: 2, checksum: { of: xor8, bytes: 2, as: 'hex', endian: 'big' } }, /has digits/],
  [{ length: 2, checksum: xor8 }, /an object with `of`/],
  [{ size: 1, start: 'ab' }, /at least 2/],
  [{ size: 10, maxLength: 5 }, /`maxLength`, 5/],
  [{ stuffing: 'slip', end: '\n' }, /it has marks of its own/],
  [{ stuffing: 'slip', whole: true }, /what was escaped/],
  [{ stuffing: 'slip', start: '<' }, /it has marks of its own/],
  [{ stuffing: 'dle', start: '<' }, /begins with one DLE/],
  [{ stuffing: 'dle', start: Buffer.of(0x10, 0x10) }, /begins with one DLE/],
  [{ stuffing: 'dle', start: Buffer.of(0x10, 0x03) }, /is not DLE ETX/],
  [{ stuffing: 'dle', start: '' }, /at least one character or byte/],
  [{ stuffing: { flag: 0x3c, escape: 1, xor: 2 }, start: '<' }, /`start` has the `flag`/],
  [{ stuffing: 'slp' }, /`slip`, `hdlc`, `cobs`, `dle`/],
  [{ stuffing: { flag: 1, escape: 1, xor: 2 } }, /must differ/],
  [{ stuffing: { flag: 1, escape: 2 } }, /one of `xor` and `map`/],
  [{ stuffing: { flag: 1, escape: 2, xor: 3 } }, /2 is escaped as the flag/],
  [{ stuffing: { flag: 1, escape: 2, map: { 1: 3 } } }, /no code for 2/],
  [{ stuffing: { flag: 1, escape: 2, map: { 1: 3, 2: 3 } } }, /two bytes are escaped as 3/],
  [{ measure: 5 }, /a function/],
  [{ whole: 1, length: 2 }, /true or false/],
  [{ delimiter: '\n', endian: 'big' }, /`endian` is for a length or a checksum/],
  [{ oneOf: [{ length: 2 }], start: 'a' }, /within `oneOf`/],
  [{ oneOf: [] }, /an array of formats/],
  [{ oneOf: [{ length: 2 }, { start: 'a', size: 2 }] }, /put oneOf\[0\] last/],
  [
    {
      oneOf: [
        { start: 'a', size: 2 },
        { start: 'ab', size: 4 },
      ],
    },
    /oneOf\[1\] is never chosen/,
  ],
  [{ oneOf: [{ oneOf: [{ length: 2 }] }] }, /`oneOf` has no `oneOf`/],
  [{ oneOf: [{ start: 'a', length: { bytes: 2, at: 4 } }] }, /oneOf\[0\]: .*give `whole`/],
  [{ length: 2, resync: true }, /`resync` needs a mark/],
  [{ start: 'a', length: 2, resync: { maxSkiped: 1 } }, /did you mean `maxSkipped`/],
  [{ start: 'a', length: 2, resync: { maxSkipped: 0 } }, /`resync\.maxSkipped`/],
  [{ length: 2, gapTimeout: 0 }, /at least 1/],
]

for (const [options, words] of refused) {
  test(`${JSON.stringify(options)} is refused when it is made, in words`, (t) => {
    const both = [
      () => frames(options as FramesOptions),
      () =>
        codec({
          ...(options as FramesOptions),
          encode: String,
          decode: String,
          validate: {} as never,
        }),
    ]
    for (const make of both) t.throws(make, { code: 'ERR_CIO_OPTION', message: words })
  })
}

test('what cannot be meant does not compile, and what can does', (t) => {
  const takes = (_options: FramesOptions): void => {}
  // @ts-expect-error: two kinds
  takes({ length: 2, delimiter: '\n' })
  // @ts-expect-error: a misspelt option
  takes({ length: { byte: 2 } })
  // @ts-expect-error: another
  takes({ lenght: 2 })
  takes({ stuffing: { flag: 1, escape: 2, xor: 4 }, start: '<' })
  // @ts-expect-error: byte stuffing has marks of its own
  takes({ stuffing: 'slip', start: '<' })
  // @ts-expect-error: byte stuffing has marks of its own
  takes({ stuffing: 'slip', end: '\n' })
  // @ts-expect-error: the delimiter is the end
  takes({ delimiter: '\n', end: '\n' })
  // @ts-expect-error: a checksum needs its function
  takes({ length: 2, checksum: { bytes: 2 } })
  // @ts-expect-error: no width
  takes({ length: 9 })
  // @ts-expect-error: marks belong to each format
  takes({ oneOf: [{ length: 2 }], start: 'a' })
  // @ts-expect-error: formats do not nest
  takes({ oneOf: [{ oneOf: [{ length: 2 }] }] })
  // @ts-expect-error: the options of a codec are its functions too
  void (() => codec({ length: 2 }))
  takes({})
  takes({ length: 3, resync: true, gapTimeout: 5, maxLength: 10 })
  takes({ delimiter: ['\n', '\0'], checksum: { of: xor8, bytes: 2, as: 'hex' } })
  takes({ delimiter: '!', checksum: { of: xor8, bytes: 1, afterDelimiter: true }, end: '\n' })
  takes({ oneOf: [{ start: 'a', size: 3, whole: true }, { measure: () => 1 }] })
  const message = codec({ length: 'varint', encode: (n: number) => String(n), decode: Number })
  t.is(message.name, 'codec')
})

test('an integer of one to eight bytes is read and written in both orders', (t) => {
  for (const bytes of [1, 2, 3, 4, 5, 6, 7, 8] as const) {
    for (const endian of ['big', 'little'] as const) {
      const options: FramesOptions = { length: { bytes }, endian }
      const frame = encodeFrame(options, 'hi')
      const number = [...Array<number>(bytes - 1).fill(0), 2]
      const wire = endian === 'big' ? number : number.toReversed()
      t.deepEqual([...frame], [...wire, 0x68, 0x69])
      t.deepEqual(read(options, frame.toString('latin1')), ['hi'])
    }
  }
})

test('a length of eight bytes above 2^53 is too long, whatever maxLength is', (t) => {
  const input = [Buffer.from('ffffffffffffffff00', 'hex')]
  for (const maxLength of [100, Infinity]) {
    const { error } = decodeFrames({ length: 8 }, input, maxLength)
    t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  }
})

test('bits beside the mask are not the length, and stay what they are in a whole frame', (t) => {
  const options: FramesOptions = { length: { bytes: 2, mask: 0x0fff }, whole: true }
  t.deepEqual(decodeFrames(options, [Buffer.from('f0026869', 'hex')]).frames, ['f0026869'])
  t.is(encodeFrame(options, Buffer.from('a0006869', 'hex')).toString('hex'), 'a0026869')
})

test('a mask above the lowest bit is a number that begins at its own lowest bit', (t) => {
  const options: FramesOptions = { length: { bytes: 2, mask: 0x0ff0 }, whole: true }
  t.deepEqual(decodeFrames(options, [Buffer.from('f02f6869', 'hex')]).frames, ['f02f6869'])
  t.is(encodeFrame(options, Buffer.from('afff6869', 'hex')).toString('hex'), 'a02f6869')
  const fits = Buffer.alloc(2 + 255)
  t.is(encodeFrame(options, fits).readUInt16BE(0), 0x0ff0)
  t.throws(() => encodeFrame(options, Buffer.alloc(2 + 256)), { code: 'ERR_CIO_ENCODE' })
})

test('a checksum after the delimiter may contain it, and covers it unless it covers the body alone', (t) => {
  const seen: string[] = []
  const of = (bytes: Uint8Array): number => {
    seen.push(Buffer.from(bytes).toString('latin1'))
    return 0x03
  }
  for (const over of ['frame', 'header', 'body'] as const) {
    const options: FramesOptions = {
      start: '\x02',
      delimiter: '\x03',
      checksum: { of, bytes: 1, over, afterDelimiter: true },
      end: ';',
    }
    t.is(encodeFrame(options, 'hi').toString('latin1'), '\x02hi\x03\x03;')
    t.deepEqual(read(options, '\x02hi\x03', '\x03;\x02\x03\x03;'), ['hi', ''])
    t.throws(() => encodeFrame(options, 'h\x03i'), { code: 'ERR_CIO_ENCODE' })
    t.regex(why(options, '\x02hi\x03\x04;')!, /has checksum 04, computed 03/)
    t.regex(why(options, '\x02hi\x03\x03,')!, /does not end with 3b/)
  }
  for (const covered of ['\x02hi\x03', '\x02\x03', 'hi\x03', '\x03', 'hi', '']) {
    t.true(seen.includes(covered), JSON.stringify(covered))
  }
})

test('a length that does not fit its field never leaves (tokio-rs/tokio#8275)', (t) => {
  const cases: [FramesOptions, number][] = [
    [{ length: { bytes: 1 }, end: ';' }, 255],
    [{ length: { bytes: 2, mask: 0x3ff, counts: 'body' } }, 1_024],
    [{ length: { as: 'decimal', bytes: 2 } }, 100],
    [{ length: { as: 'decimal', until: ':', maxBytes: 2 } }, 100],
    [{ length: { as: 'varint', maxBytes: 1 } }, 128],
    [{ length: { bytes: 1, plus: 3 } }, 2],
  ]
  for (const [options, length] of cases) {
    t.throws(() => encodeFrame(options, Buffer.alloc(length)), { code: 'ERR_CIO_ENCODE' })
  }
})

test('a length that is smaller than its own header is malformed, and never 0 or negative', (t) => {
  t.regex(why({ length: { bytes: 2, counts: 'frame' } }, '\0\x01')!, /too small for its header/)
  t.regex(why({ length: { bytes: 1 }, end: '\r\n' }, '\x01\r')!, /too small for its header/)
  t.regex(why({ length: { bytes: 1, plus: -2 } }, '\x01')!, /too small for its header/)
})

test('the length may count the digits that it is made of', (t) => {
  const options: FramesOptions = { length: { as: 'decimal', until: ':', counts: 'frame' } }
  for (const length of [0, 6, 7, 8, 95, 96, 97, 98, 996]) {
    const frame = encodeFrame(options, 'x'.repeat(length)).toString()
    t.is(Number(frame.split(':')[0]), frame.length)
  }
})

test('what is too long counts the message, not its marks (neo4j/neo4j#11918)', (t) => {
  const options: FramesOptions = {
    start: 'ab',
    length: { bytes: 2, counts: 'frame' },
    checksum: { of: xor8, bytes: 1 },
    end: 'yz',
  }
  const frame = encodeFrame(options, 'hello')
  t.deepEqual(decodeFrames(options, [frame], 5).frames.length, 1)
  t.is(decodeFrames(options, [frame], 4).error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  const whole = { ...options, whole: true } as FramesOptions
  t.is(decodeFrames(whole, [frame], 12).frames.length, 1)
  t.is(decodeFrames(whole, [frame], 11).error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('an error names the part that does not hold, the position and the first bytes', (t) => {
  const options: FramesOptions = {
    start: 'ab',
    length: { bytes: 1 },
    checksum: { of: xor8, bytes: 2, as: 'hex' },
    end: 'z',
  }
  const good = encodeFrame(options, 'hi').toString('latin1')
  t.is(good, 'ab\x05hi07z')
  t.regex(
    why(options, `${good}${good.replace('07', '08')}`)!,
    /at byte 8 has checksum 08, computed 07: "6162056869/,
  )
  t.regex(why(options, `${good}xb`)!, /at byte 8 does not begin with 6162: "7862"/)
  t.regex(why(options, good.replace('z', 'y'))!, /does not end with 7a/)
  t.regex(why(options, good.replace('07', '0g'))!, /not of digits/)
  t.regex(why({ length: { as: 'decimal', until: ':' } }, 'x:')!, /not decimal/)
  t.regex(
    why(
      {
        measure: () => {
          throw new Error('no')
        },
      },
      'x',
    )!,
    /no length by `measure`/,
  )
  t.regex(why({ measure: () => NaN }, 'x')!, /a length of NaN/)
  t.regex(why({ stuffing: 'slip' }, 'a\xdbb\xc0')!, /stands for no byte/)
})

test('a negative checksum is taken modulo its width', (t) => {
  const options: FramesOptions = { length: 1, checksum: { of: () => -1, bytes: 4 } }
  t.is(encodeFrame(options, '').toString('hex'), '04ffffffff')
  t.is(decodeFrames(options, [Buffer.from('04ffffffff', 'hex')]).error, undefined)
})

test('of several delimiters, the first that is complete ends the frame, however it is cut', (t) => {
  const options: FramesOptions = { delimiter: ['\n', '\r\n', 'stop'] }
  for (const chunks of everyCut(Buffer.from('a\nb\r\ncstop\r\n'))) {
    t.deepEqual(text(...decodeFrames(options, chunks).frames), ['a', 'b', 'c', ''])
  }
  t.is(encodeFrame(options, 'a').toString(), 'a\n')
  t.throws(() => encodeFrame(options, 'a stop b'), { code: 'ERR_CIO_ENCODE' })
})

test('flags between frames are no frames, and trailing ones are no beginning', (t) => {
  t.deepEqual(read({ stuffing: 'slip' }, '\xc0\xc0a\xc0b\xc0\xc0', '\xc0c\xc0\xc0'), [
    'a',
    'b',
    'c',
  ])
  t.deepEqual(read({ stuffing: 'cobs' }, '\0\0\x02a\0\0'), ['a'])
  t.throws(() => encodeFrame({ stuffing: 'slip' }, ''), {
    code: 'ERR_CIO_ENCODE',
    message: /empty/,
  })
  t.is(encodeFrame({ stuffing: 'cobs' }, '').toString('hex'), '0100')
})

test('with a start, byte stuffing has an end of its own, and escapes the start (Ember+, Kamstrup)', (t) => {
  const options: FramesOptions = { start: '<', stuffing: { flag: 0x3e, escape: 0x5c, xor: 0x20 } }
  t.deepEqual(read(options, '<a><', '><b\\\x1cc>'), ['a', '', 'b<c'])
  t.is(encodeFrame(options, 'a<>\\').toString('latin1'), '<a\\\x1c\\\x1e\\|>')
  t.is(encodeFrame(options, '').toString('latin1'), '<>')
  t.regex(decodeFrames(options, [Buffer.from('<a>>')]).error!.message, /does not begin with 3c/)
})

test('an escaped frame is unescaped into memory of its own, and one without escapes is a view', (t) => {
  const chunk = Buffer.from('c061db dcc0 6162c0'.replaceAll(' ', ''), 'hex')
  const before = Buffer.from(chunk)
  const { frames: found } = decodeFrames({ stuffing: 'slip' }, [chunk])
  t.deepEqual(found, ['61c0', '6162'])
  t.deepEqual(chunk, before)
})

test('a whole frame that was received is sent as it is, with its parts put right', (t) => {
  const options: FramesOptions = {
    start: 'ab',
    length: { bytes: 1 },
    checksum: { of: xor8, bytes: 2, as: 'hex' },
    end: 'z',
    whole: true,
  }
  const good = Buffer.from('ab\x05hi07z')
  t.deepEqual(encodeFrame(options, good), good)
  t.deepEqual(encodeFrame(options, 'ab\xffhi..?'.replace('\xff', '\0')), good)
  for (const wrong of ['xb\x05hi07z', 'ab', 'ab\x05z']) {
    t.throws(() => encodeFrame(options, wrong), { code: 'ERR_CIO_ENCODE' })
  }
  const varint: FramesOptions = { length: 'varint', whole: true }
  t.throws(() => encodeFrame(varint, '\x03hi'), { code: 'ERR_CIO_ENCODE' })
  t.throws(() => encodeFrame(varint, '\x01hi'), {
    code: 'ERR_CIO_ENCODE',
    message: /more than one|longer|refused/,
  })
})

test('oneOf sends by the first format that has a frame for the message', (t) => {
  const options: FramesOptions = {
    oneOf: [
      { start: 's', length: 1 },
      { start: 'l', length: 2 },
    ],
  }
  t.is(encodeFrame(options, 'hi').toString('latin1'), 's\x02hi')
  t.is(encodeFrame(options, 'x'.repeat(300)).subarray(0, 3).toString('latin1'), 'l\x01\x2c')
  t.throws(() => encodeFrame(options, 'x'.repeat(70_000)), { code: 'ERR_CIO_ENCODE' })
  t.regex(why(options, 'x')!, /no start of `oneOf`/)
})

test('a frame of oneOf begins with its flag, also if that comes alone', (t) => {
  for (const stuffing of ['slip', 'hdlc', 'cobs'] as const) {
    const options: FramesOptions = { oneOf: [{ start: '<', size: 3 }, { stuffing }] }
    const flag = { slip: '\xc0', hdlc: '~', cobs: '\0' }[stuffing]
    // COBS begins with a count, which is `<` for 59 bytes.
    const body = stuffing === 'cobs' ? 'x'.repeat(59) : '<ab'
    const [frame, marked] = [encodeFrame({ stuffing }, body), Buffer.from('<yz')]
    const flags = Buffer.from(flag, 'latin1')
    const bytes = Buffer.concat([flags, flags, frame, flags, frame, marked, flags, frame, flags])
    for (const chunks of [...everyCut(bytes), singly(bytes)]) {
      const { frames, error } = decodeFrames(options, chunks)
      t.is(error, undefined)
      t.deepEqual(text(...frames), [body, body, 'yz', body], stuffing)
    }
  }
})

test('measure is not asked again once it has answered, and keeps what it has seen', (t) => {
  const seen: string[] = []
  const options: FramesOptions = {
    measure(bytes, kept) {
      kept.calls = (kept.calls ?? 0) + 1
      seen.push(`${bytes.length}:${kept.calls}`)
      return bytes.length < 2 ? undefined : 4
    },
  }
  t.deepEqual(read(options, 'a', 'b', 'c', 'de', 'fgh'), ['abcd', 'efgh'])
  t.deepEqual(seen, ['1:1', '2:2', '1:1', '4:2'])
})

/** A connection without a network, whose codec has these options. */
function connection(options: FramesOptions): {
  push: (...chunks: string[]) => void
  found: string[]
  stepped: object[]
  app: Cio
} {
  const found: string[] = []
  const stepped: object[] = []
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  const app = new Cio().useConnection(frames(options)).useConnection(async ({ messages }) => {
    for await (const frame of messages) found.push(frame.toString('latin1'))
  })
  app.on('outOfStep', (what) => stepped.push(what))
  app.handle(stream)
  const push = (...chunks: string[]): void => {
    for (const chunk of chunks) stream.push(Buffer.from(chunk, 'latin1'))
  }
  return { push, found, stepped, app }
}

const marked: FramesOptions = {
  start: '<',
  length: { bytes: 1 },
  checksum: { of: xor8, bytes: 2, as: 'hex', over: 'body' },
}

test('resync searches inside what a wrong length took (serialport/node-serialport#1886)', async (t) => {
  const { push, found, stepped, app } = connection({ ...marked, resync: true })
  const good = (body: string): string => encodeFrame(marked, body).toString('latin1')
  const wrong = `<\x1e${good('b').slice(2)}`
  push(good('a'), wrong, good('c'), good('d'), good('e'), good('f'), good('g'), good('h'))
  while (found.length < 7) await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(found, ['a', 'c', 'd', 'e', 'f', 'g', 'h'])
  t.deepEqual(stepped, [
    {
      why: 'checksum',
      skipped: 5,
      first:
        Buffer.from(wrong + good('c') + good('d') + good('e'))
          .toString('hex')
          .slice(0, 32) + '…',
    },
  ])
  await app.close({ timeout: 0 })
})

test('resync gives the same frames wherever noisy input is cut', async (t) => {
  const kinds: FramesOptions[] = [
    marked,
    {
      start: '$',
      delimiter: '\r\n',
      checksum: { of: xor8, as: 'hex', bytes: 2, before: '*', over: 'header' },
    },
    { delimiter: '\n', checksum: { of: xor8, as: 'hex', bytes: 2 } },
    { start: '<', delimiter: '>', checksum: { of: xor8, bytes: 1, afterDelimiter: true } },
    {
      delimiter: '>',
      checksum: { of: xor8, as: 'hex', bytes: 2, afterDelimiter: true },
      end: '\r\n',
    },
    { stuffing: 'slip', checksum: { of: xor8, bytes: 1 } },
    {
      start: '<',
      stuffing: { flag: 0x3e, escape: 0x5c, xor: 0x20 },
      checksum: { of: xor8, bytes: 1 },
    },
    { stuffing: 'dle', checksum: { of: xor8, bytes: 1 } },
    { oneOf: [marked, { start: '>', length: 1, checksum: { of: xor8, bytes: 1 } }] },
    {
      start: '<',
      measure: (bytes) => (bytes.length < 2 ? undefined : bytes[1]!),
      checksum: { of: xor8, bytes: 1 },
      whole: true,
    },
  ]
  for (const kind of kinds) {
    const options = { ...kind, resync: true } as FramesOptions
    const frame = (body: string): Buffer =>
      'measure' in kind
        ? encodeFrame(kind, `<${String.fromCharCode(body.length + 3)}${body}.`)
        : encodeFrame(kind, body)
    const damaged = Buffer.from(frame('damaged'))
    damaged[3]! ^= 0x20
    const bytes = Buffer.concat([
      frame('one'),
      damaged,
      Buffer.from('<$\x10\x02noise'),
      frame('two'),
      frame('three'),
    ])
    const outcomes = new Set<string>()
    for (const chunks of everyCut(bytes)) {
      const { push, found, stepped, app } = connection(options)
      const closed = nextEvent(app, 'close')
      app.on('remoteError', () => {})
      push(...chunks.filter(({ length }) => length > 0).map((chunk) => chunk.toString('latin1')))
      // A frame of each format that ends all that may be open before it.
      push(...Array.from({ length: 40 }, () => frame('end').toString('latin1')))
      while (found.filter((one) => one.includes('end')).length < 30) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      outcomes.add(JSON.stringify([found.filter((one) => !one.includes('end')), stepped.length]))
      await app.close({ timeout: 0 })
      await closed
    }
    t.is(outcomes.size, 1, [...outcomes].join('\n'))
    t.true([...outcomes][0]!.includes('three'), [...outcomes][0])
    t.false([...outcomes][0]!.includes('amaged'), [...outcomes][0])
  }
})

test('bytes that are skipped are bounded by maxSkipped', async (t) => {
  for (const [noise, isOver] of [
    [90, false],
    [110, true],
  ] as const) {
    const { push, found, app } = connection({ ...marked, resync: { maxSkipped: 100 } })
    const told = nextEvent(app, 'remoteError')
    push('.'.repeat(noise), encodeFrame(marked, 'a').toString('latin1'))
    if (isOver) {
      const [error] = (await told) as unknown as [CioError]
      t.is(error.code, 'ERR_CIO_SYNTAX')
      t.regex(error.message, /no good frame came within `maxSkipped`/)
    } else {
      while (found.length === 0) await new Promise((resolve) => setImmediate(resolve))
      t.deepEqual(found, ['a'])
    }
    app.removeAllListeners('remoteError')
    app.on('remoteError', () => {})
    await app.close({ timeout: 0 })
  }
})

test('a gap within a frame ends the connection, or with resync gives up that frame alone', async (t) => {
  const { push, app, found } = connection({ ...marked, gapTimeout: 40 })
  const told = nextEvent(app, 'remoteError')
  const good = encodeFrame(marked, 'a').toString('latin1')
  push(good, good.slice(0, 3))
  const [error] = (await told) as unknown as [CioError]
  t.is(error.code, 'ERR_CIO_FRAME_TIMEOUT')
  t.is(error.fault, 'remote')
  t.deepEqual(found, ['a'])
  await app.close({ timeout: 0 })

  const second = connection({ ...marked, gapTimeout: 40, resync: true })
  second.push(`<\xff${good}`)
  while (second.found.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  t.deepEqual(second.found, ['a'])
  t.like(second.stepped, [{ why: 'gap', skipped: 2 }])
  await second.app.close({ timeout: 0 })
})

test('a gap does not count while the handler reads nothing', async (t) => {
  const stream = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() })
  let release: () => void = () => {}
  const held = new Promise<void>((resolve) => (release = resolve))
  const found: string[] = []
  const app = new Cio()
    .useConnection(frames({ ...marked, gapTimeout: 20 }))
    .useConnection(async ({ messages }) => {
      for await (const frame of messages) {
        found.push(frame.toString())
        if (found.length === 1) await held
      }
    })
  const over = nextEvent(app, 'close')
  app.handle(stream)
  const good = encodeFrame(marked, 'a')
  stream.push(Buffer.concat([good, good.subarray(0, 3)]))
  while (found.length === 0) await new Promise((resolve) => setImmediate(resolve))
  // The rest waits in the stream, since the handler takes nothing, for several times the gap.
  stream.push(good.subarray(3))
  while (!stream.isPaused()) await new Promise((resolve) => setImmediate(resolve))
  await new Promise((resolve) => setTimeout(resolve, 150))
  release()
  stream.push(null)
  await over
  t.deepEqual(found, ['a', 'a'])
  await app.close({ timeout: 0 })
})
