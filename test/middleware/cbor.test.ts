import test from 'ava'
import { DecoderStream, Encoder, EncoderStream, Tag, addExtension } from 'cbor-x'
import { cbor } from '../../middleware/cbor.ts'
import { Cio } from '../../src/index.ts'
import { codecContract, jsonValues } from '../contracts/codec.ts'
import { counted, valuesContract } from '../contracts/value-sequence.ts'
import { receive } from '../support/receive.ts'
import { dial, serve } from '../support/serve.ts'

const plain = new Encoder({ useRecords: false })

codecContract<unknown>(test, {
  codec: cbor,
  arbitrary: jsonValues.filter((value) => !JSON.stringify(value).includes('__proto__')),
  ofLength: (bytes) =>
    'x'.repeat(bytes - (bytes < 25 ? 1 : bytes < 258 ? 2 : bytes < 65_539 ? 3 : 5)),
  encode: (value) => Buffer.from(plain.encode(value)),
  truncated: 'ERR_CIO_TRUNCATED',
})

valuesContract(test, {
  codec: () => cbor({ useRecords: true }),
  readingAll: () => cbor({ useRecords: true, structuredClone: true, mapsAsObjects: false }),
  encoder() {
    const encoder = new Encoder({ sequential: true })
    return (value) => encoder.encode(value)
  },
  definition: Buffer.from([0xd9, 0xdf, 0xff]),
  define: (key, number) =>
    Buffer.concat([
      Buffer.from([0xd9, 0xdf, 0xff, 0x83]),
      Buffer.from(plain.encode(0xe000 + number * 100)),
      Buffer.from([0x81]),
      Buffer.from(plain.encode(key)),
      Buffer.from([1]),
    ]),
  writing: () => new EncoderStream(),
  reading: () => new DecoderStream(),
  formless: [{ fresh: { keys: 1 }, other: Symbol('none') }],
  malformed: Buffer.from([1, 2, 0x61, 0x61, 0x1c]),
  hostile: {
    'an array of 2^32 items': [counted(0x9a, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'an array of 2^63 items': [
      Buffer.from('9b8000000000000000', 'hex'),
      'ERR_CIO_MESSAGE_TOO_LONG',
    ],
    'a map of 2^32 entries': [counted(0xba, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'a string of 2^32 bytes': [counted(0x7a, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'bytes of 2^63': [Buffer.from('5b8000000000000000', 'hex'), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'arrays of a million items in each other': [
      Buffer.concat(Array.from({ length: 100 }, () => counted(0x9a, 1_000_000))),
      'ERR_CIO_TRUNCATED',
    ],
    '100000 arrays in each other': [Buffer.alloc(100_000, 0x81), 'ERR_CIO_SYNTAX'],
    '100000 open arrays in each other': [Buffer.alloc(100_000, 0x9f), 'ERR_CIO_SYNTAX'],
    '100000 maps in each other': [Buffer.alloc(100_000, 0xa1), 'ERR_CIO_SYNTAX'],
    '100000 tags in each other': [Buffer.alloc(100_000, 0xc5), 'ERR_CIO_SYNTAX'],
    'shared values in each other': [
      Buffer.concat([
        ...Array.from({ length: 40 }, () => Buffer.from([0xd8, 28, 0x82, 0xd8, 29, 0])),
        Buffer.from([0]),
      ]),
      'ERR_CIO_SYNTAX',
    ],
    'a bigint that takes minutes': [
      Buffer.concat([Buffer.from([0xc2]), counted(0x5a, 900_000), Buffer.alloc(900_000, 0xff)]),
      'ERR_CIO_SYNTAX',
    ],
    'a string bundle': [Buffer.from([0xd9, 0xdf, 0xf9, 0x82, 0, 0]), 'ERR_CIO_SYNTAX'],
    'a table of packed values': [
      Buffer.from([0xd8, 51, 0x84, 0x81, 0, 0x80, 0x80, 0]),
      'ERR_CIO_SYNTAX',
    ],
    'a break out of place': [Buffer.from([1, 0xff]), 'ERR_CIO_SYNTAX'],
    'a string of indefinite length': [Buffer.from([0x7f, 0x61, 0x61, 0xff]), 'ERR_CIO_SYNTAX'],
    'a reserved length': [Buffer.from([0x1c]), 'ERR_CIO_SYNTAX'],
    'a map with a map as a key': [Buffer.from([0xa1, 0xa0, 1]), 'ERR_CIO_SYNTAX'],
    'a record whose keys are no array': [
      Buffer.from([0xd9, 0xdf, 0xff, 0x83, 0x19, 0xe0, 0, 5, 1]),
      'ERR_CIO_SYNTAX',
    ],
    'a record whose keys are no strings': [
      Buffer.from([0xd9, 0xdf, 0xff, 0x83, 0x19, 0xe0, 0, 0x81, 0x80, 1]),
      'ERR_CIO_SYNTAX',
    ],
  },
})

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const withRecords = (): ReturnType<typeof cbor> => cbor({ useRecords: true })

/** Definitions and uses of records that cbor-x counts differently from CBOR, or does not write. */
const strangeRecords: Record<string, string> = {
  'a definition in a byte string': 'd9dfff 43 19e000 81 6161 01',
  'a definition of indefinite length': 'd9dfff 9f 19e000 81 6161 01 ff',
  'a definition in a map': 'd9dfff a2 19e000 81 6161 01',
  'a definition with keys in a text': 'd9dfff 83 19e000 6161 01',
  'keys of indefinite length': 'd9dfff 83 19e000 9f 6161 ff 01',
  'fewer values than keys': 'd9dfff 83 19e000 82 6161 6162 01',
  'more values than keys': 'd9dfff 84 19e000 81 6161 01 02',
  'a number as a key': 'd9dfff 83 19e000 81 01 01',
  'an id below the records': 'd9dfff 83 190001 81 6161 01',
  'an id of four bytes': 'd9dfff 83 1a0000e000 81 6161 01',
  'an id that is the tag of a definition': 'd9dfff 83 19ffff 81 6161 01',
  'a tag of five bytes': 'da0000dfff 83 19e000 81 6161 01',
  'the older tag': 'd869 83 19e000 81 6161 01',
  'a table of definitions': 'd9dffe 83 19e000 81 6161 01',
  'a record that is not known': 'd9e000 81 01',
  'values in a byte string': 'd9dfff 83 19e000 81 6161 01 d9e000 41 01',
  'values of indefinite length': 'd9dfff 83 19e000 81 6161 01 d9e000 9f 01 ff',
  'other values than keys': 'd9dfff 83 19e000 81 6161 01 d9e000 82 01 02',
  'a tag of the same 13 bits': 'd9dfff 83 19e000 81 6161 01 da00010000 81 01',
}
for (const [name, text] of Object.entries(strangeRecords)) {
  test(`${name} is rejected before cbor-x sees it`, async (t) => {
    const bytes = hex(text)
    const { messages, error } = await receive(t, withRecords(), [bytes])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.is(error?.cause, undefined)
    t.true(messages.length <= 1)
  })
}

test('records are off by default, both ways', async (t) => {
  const record = new Encoder({ sequential: true }).encode({ a: 1 })
  t.is((await receive(t, cbor(), [Buffer.from(record)])).error?.code, 'ERR_CIO_SYNTAX')
  const app = new Cio().useConnection(cbor()).useConnection((ctx) => ctx.messages.send({ a: 1 }))
  const socket = await dial(t, await serve(t, app))
  t.deepEqual(Buffer.concat(await socket.toArray()), hex('b90001 6161 01'))
})

/**
 * Input that cbor-x would convert, copy or allocate memory for, out of proportion to its length.
 */
const strangeTags: Record<string, string> = {
  'a bigint of a typed array': 'c2 d840 4401020304',
  'a bigint of a list': 'c2 820102',
  'a typed array of a map that names its length': 'd840 a1 66627566666572 1a77359400',
  'a typed array of a list': 'd845 820102',
  'a date of a list': 'c0 81 01',
  'a date of a map': 'c1 a0',
  'a fraction of texts': 'c4 82 6131 6132',
  'a fraction of three': 'c4 83 01 02 03',
  'an object of a class that is a list': 'd81b 82 654572726f72 80',
  'a set of a text': 'd90102 6161',
  'a set of a set': 'd90102 d90102 80',
  'a map tag around a list': 'd90103 80',
  'shared data': 'da53687264 00',
}
for (const [name, text] of Object.entries(strangeTags)) {
  test(`${name} is rejected before cbor-x sees it`, async (t) => {
    const { error } = await receive(t, cbor({ structuredClone: true }), [hex(text)])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.is(error?.cause, undefined)
  })
}

test('a simple value is reported as well-formed and not supported (RFC 8949, 3.3)', async (t) => {
  for (const text of ['f0', 'f8ff', 'e0', '81f820']) {
    const { error } = await receive(t, cbor(), [hex(text)])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.regex(error!.message, /well-formed CBOR.*not supported/)
  }
  for (const text of ['f800', 'f814', 'f81f']) {
    const { error } = await receive(t, cbor(), [hex(text)])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.notRegex(error!.message, /well-formed/)
  }
})

test('a text whose length takes eight bytes is rejected before the native part of cbor-x fails on it', async (t) => {
  for (const before of ['', '65c3a9e29883']) {
    const bytes = hex(`${before} 7b0000000000000001 61`)
    for (let cut = 0; cut < bytes.length; cut++) {
      const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
      const { messages, error } = await receive(t, cbor(), pieces)
      t.is(error?.code, 'ERR_CIO_SYNTAX')
      t.is(error?.cause, undefined)
      t.is(messages.length, before === '' ? 0 : 1)
    }
  }
})

test('a break after the key of a map is rejected by the scanner', async (t) => {
  const { error } = await receive(t, cbor(), [hex('bf6161ff')])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  t.is(error?.cause, undefined)
})

test('a set or map of many numbers with the same hash is rejected', async (t) => {
  const same = Array.from({ length: 20_000 }, (_, index) => (BigInt(index) << 64n) | 1n)
  // By hand: to fill a set or map of this kind is what takes so long.
  const keys = same.map((key) => Buffer.from(plain.encode(key)))
  const set = Buffer.concat([hex('d90102994e20'), ...keys])
  const map = Buffer.concat([hex('d90103b94e20'), ...keys.flatMap((key) => [key, hex('01')])])
  for (const [bytes, mapsAsObjects] of [
    [set, true],
    [map, true],
    [map.subarray(3), false],
  ] as const) {
    const { error } = await receive(t, cbor({ mapsAsObjects }), [bytes])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.is(error?.cause, undefined)
  }
})

test('a set or map may have many texts and many small numbers', async (t) => {
  const numbers = Array.from({ length: 20_000 }, (_, index) => index)
  const sent = [new Set(numbers.map(String)), new Set(numbers), new Map(numbers.map((n) => [n, n]))]
  const bytes = Buffer.concat(sent.map((value) => Buffer.from(plain.encode(value))))
  t.deepEqual(await receive(t, cbor(), [bytes]), { messages: sent, error: undefined })
})

test('shared values belong to their own item, wherever the input is split', async (t) => {
  const encoder = new Encoder({ structuredClone: true, useRecords: false })
  const shared = (id: number): Buffer => {
    const own = { id }
    return Buffer.from(encoder.encode([own, own]))
  }
  const bytes = Buffer.concat([shared(1), shared(2)])
  for (let cut = 0; cut < bytes.length; cut++) {
    const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
    const { messages, error } = await receive(t, cbor({ structuredClone: true }), pieces)
    t.is(error, undefined)
    t.deepEqual(messages, [
      [{ id: 1 }, { id: 1 }],
      [{ id: 2 }, { id: 2 }],
    ])
  }
})

test('the nesting of shared values that cbor-x reads twice is limited', async (t) => {
  const level = Buffer.from([0xd8, 28, 0xd9, 1, 2, 0x82, 0xd8, 29, 0])
  const bytes = Buffer.concat([...Array<Buffer>(30).fill(level), Buffer.from([0])])
  const { error } = await receive(t, cbor({ structuredClone: true }), [bytes])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  t.is(error?.cause, undefined)
})

test('records that are redefined and compiled each time are rejected', async (t) => {
  const one = hex(`d9dfff 83 19e000 81 6161 01${'d9e000 81 01'.repeat(4)}`)
  const { error } = await receive(t, withRecords(), [Buffer.concat(Array<Buffer>(2_000).fill(one))])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  t.is(error?.cause, undefined)
})

test('an option that cbor does not know is rejected', (t) => {
  t.throws(() => cbor({ keyMap: { a: 1 } } as object), { code: 'ERR_CIO_OPTION' })
})

test('without records it is plain CBOR, both ways', async (t) => {
  const app = new Cio()
    .useConnection(cbor({ useRecords: false, variableMapSize: true }))
    .useConnection(async (ctx) => {
      for await (const message of ctx.messages) await ctx.messages.send(message)
    })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end(Buffer.from([0xa1, 0x61, 0x61, 1]))
  const chunks: Buffer[] = await socket.toArray()
  t.deepEqual(Buffer.concat(chunks), Buffer.from([0xa1, 0x61, 0x61, 1]))
  const record = new Encoder({ sequential: true }).encode({ a: 1 })
  const { error } = await receive(t, cbor({ useRecords: false }), [Buffer.from(record)])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
})

test('bigints, dates, bytes, maps, sets and undefined are decoded', async (t) => {
  const sent = [
    2n ** 64n,
    -(2n ** 70n),
    new Date(1_234_000),
    Buffer.from('bytes'),
    new Set([1, 2]),
    undefined,
    null,
    0.5,
  ]
  const app = new Cio()
    .useConnection(cbor())
    .useConnection((ctx) => ctx.messages.sendMany(sent))
    .useClient(cbor())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const received: unknown[] = []
  await client.messages.each((message) => received.push(message))
  t.deepEqual(received, sent)
})

class Point {
  readonly x: number
  constructor(x: number) {
    this.x = x
  }
}
addExtension<Point, [number, object]>({
  Class: Point,
  tag: 43_311,
  encode: (point, encode) => encode([point.x, { more: 'values' }]),
  decode: ([x]) => new Point(x),
})

test('registered tags are decoded wherever they are split, unknown ones as a Tag', async (t) => {
  const sent = [new Point(1), [new Point(3), 'x'], new Tag(5, 1_234)]
  const encoder = new Encoder({ sequential: true })
  const bytes = Buffer.concat(sent.map((value) => Buffer.from(encoder.encode(value))))
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, cbor({ useRecords: true }), [
      bytes.subarray(0, cut),
      bytes.subarray(cut),
    ])
    t.is(error, undefined)
    t.deepEqual(messages, sent)
  }
})

test('items of indefinite length are decoded wherever they are split', async (t) => {
  const bytes = Buffer.from([0x9f, 1, 0xbf, 0x61, 0x61, 0x9f, 0xff, 0xff, 0x82, 2, 3, 0xff, 4])
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, cbor(), [
      bytes.subarray(0, cut),
      bytes.subarray(cut),
    ])
    t.is(error, undefined)
    t.deepEqual(messages, [[1, { a: [] }, [2, 3]], 4])
  }
})

test('long bytes after a bigint that was split are not a bigint', async (t) => {
  const long = Buffer.alloc(2_000, 1)
  const rest = Buffer.concat([Buffer.from([0x41, 5]), Buffer.from(plain.encode(long))])
  const { messages, error } = await receive(t, cbor(), [Buffer.from([0xc2]), rest])
  t.is(error, undefined)
  t.deepEqual(messages, [5n, long])
})

test('malformed input is reported as such, even if the input ends before the rest of the item', async (t) => {
  // An array of 40 items, the first of which has a reserved length.
  const { error } = await receive(t, cbor(), [Buffer.from([0x98, 40]), Buffer.from([0x1c])])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
})

test('a key named __proto__ changes no prototype', async (t) => {
  const map = Buffer.from('\xa1\x69__proto__\xa1\x68polluted\xf5', 'latin1')
  const { messages } = await receive(t, cbor(), [map])
  t.is(Object.getPrototypeOf(messages[0]), Object.prototype)
  t.false('polluted' in {})
})

test('an option out of its range is rejected when it is created', (t) => {
  t.throws(() => cbor({ maxDepth: 0 }), { code: 'ERR_CIO_OPTION', message: /maxDepth/ })
})
