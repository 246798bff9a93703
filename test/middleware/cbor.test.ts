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
  codec: cbor,
  readingAll: cbor,
  encoder() {
    const encoder = new Encoder({ sequential: true })
    return (value) => encoder.encode(value)
  },
  definition: Buffer.from([0xd9, 0xdf, 0xff]),
  define: (key, number) =>
    Buffer.concat([
      Buffer.from([0xd9, 0xdf, 0xff, 0x83]),
      Buffer.from(plain.encode(0xe000 + number * 1_000)),
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

test('bigints, dates, bytes, maps, sets and undefined come through', async (t) => {
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

test('tags of one’s own come through wherever they are cut, unknown ones as a Tag', async (t) => {
  const sent = [new Point(1), [new Point(3), 'x'], new Tag(5, 1_234)]
  const encoder = new Encoder({ sequential: true })
  const bytes = Buffer.concat(sent.map((value) => Buffer.from(encoder.encode(value))))
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, cbor(), [
      bytes.subarray(0, cut),
      bytes.subarray(cut),
    ])
    t.is(error, undefined)
    t.deepEqual(messages, sent)
  }
})

test('items of indefinite length come through wherever they are cut', async (t) => {
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

test('long bytes after a bigint that was cut are no bigint', async (t) => {
  const long = Buffer.alloc(2_000, 1)
  const rest = Buffer.concat([Buffer.from([0x41, 5]), Buffer.from(plain.encode(long))])
  const { messages, error } = await receive(t, cbor(), [Buffer.from([0xc2]), rest])
  t.is(error, undefined)
  t.deepEqual(messages, [5n, long])
})

test('what is malformed is told as such, also where the input ends before more of it was due', async (t) => {
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

test('an option out of its range is refused when it is made', (t) => {
  t.throws(() => cbor({ maxDepth: 0 }), { code: 'ERR_CIO_OPTION', message: /maxDepth/ })
})
