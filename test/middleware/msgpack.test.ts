import test from 'ava'
import { Packr, PackrStream, UnpackrStream, addExtension, pack } from 'msgpackr'
import { msgpack } from '../../middleware/msgpack.ts'
import { Cio, type CioError } from '../../src/index.ts'
import { codecContract, jsonValues } from '../contracts/codec.ts'
import { counted, valuesContract } from '../contracts/value-sequence.ts'
import { receive } from '../support/receive.ts'
import { dial, serve } from '../support/serve.ts'

const plain = new Packr({ useRecords: false })

codecContract<unknown>(test, {
  codec: msgpack,
  arbitrary: jsonValues.filter((value) => !JSON.stringify(value).includes('__proto__')),
  ofLength: (bytes) =>
    'x'.repeat(bytes - (bytes < 33 ? 1 : bytes < 258 ? 2 : bytes < 65_539 ? 3 : 5)),
  encode: (value) => Buffer.from(plain.pack(value)),
  truncated: 'ERR_CIO_TRUNCATED',
})

valuesContract(test, {
  codec: msgpack,
  readingAll: () => msgpack({ moreTypes: true, structuredClone: true }),
  encoder() {
    const packr = new Packr({ sequential: true })
    return (value) => packr.pack(value)
  },
  definition: Buffer.from([0xd4, 0x72]),
  define: (key, number) =>
    Buffer.concat([
      Buffer.from([0xd4, 0x72, 0x40 + number, 0x91]),
      Buffer.from(pack(key)),
      Buffer.from([1]),
    ]),
  writing: () => new PackrStream(),
  reading: () => new UnpackrStream(),
  formless: [{ fresh: { keys: 1 }, other: Symbol('none') }, { fresh: { keys: 2n ** 70n } }],
  malformed: Buffer.from([1, 2, 0xa1, 0x61, 0xc1]),
  hostile: {
    'an array of 2^32 items': [counted(0xdd, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'a map of 2^32 entries': [counted(0xdf, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'a string of 2^32 bytes': [counted(0xdb, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'bytes of 2^31': [counted(0xc6, 2 ** 31), 'ERR_CIO_MESSAGE_TOO_LONG'],
    'an extension of 2^32 bytes': [
      Buffer.concat([counted(0xc9, 2 ** 32 - 1), Buffer.from([0x42])]),
      'ERR_CIO_MESSAGE_TOO_LONG',
    ],
    'arrays of a million items in each other': [
      Buffer.concat(Array.from({ length: 100 }, () => counted(0xdd, 1_000_000))),
      'ERR_CIO_TRUNCATED',
    ],
    '100000 arrays in each other': [Buffer.alloc(100_000, 0x91), 'ERR_CIO_SYNTAX'],
    '100000 maps in each other': [Buffer.alloc(100_000, 0x81), 'ERR_CIO_SYNTAX'],
    '100000 sets in each other': [
      Buffer.concat(Array.from({ length: 100_000 }, () => Buffer.from([0xd4, 0x73, 0]))),
      'ERR_CIO_SYNTAX',
    ],
    'a byte that begins nothing': [Buffer.from([1, 0xc1, 2]), 'ERR_CIO_SYNTAX'],
    'an unknown extension': [Buffer.from([0xd4, 0x33, 0, 0xc7, 2, 0x33, 1, 2]), 'ERR_CIO_SYNTAX'],
    'a string bundle that points backwards': [
      Buffer.from([1, 0xd6, 0x62, 0xff, 0xff, 0xff, 0xf0, 0xa1, 0x61, 0xa1, 0x61]),
      'ERR_CIO_SYNTAX',
    ],
    'a pointer to nothing': [Buffer.from([0xd6, 0x70, 0, 0, 0, 1]), 'ERR_CIO_SYNTAX'],
    'a record whose keys are no array': [Buffer.from([0xd4, 0x72, 0x40, 0xc0]), 'ERR_CIO_SYNTAX'],
    'a record whose keys are records': [
      Buffer.from([0xd4, 0x72, 0x40, 0x92, 0x40, 0x40, 1, 2, 3, 4, 5, 6]),
      'ERR_CIO_SYNTAX',
    ],
    'a map with a map as a key': [Buffer.from([0x81, 0x80, 1]), 'ERR_CIO_SYNTAX'],
  },
})

test('a record refused for the queue’s bound is defined by the next that is sent', async (t) => {
  const app = new Cio()
    .useConnection(msgpack({ maxQueueSize: 100_000 }))
    .useConnection(async ({ messages }) => {
      const codes = new Set<string>()
      while (codes.size === 0) {
        messages.send(Buffer.alloc(50_000)).catch((error: CioError) => codes.add(error.code))
        messages.send({ own: 1 }).catch((error: CioError) => codes.add(error.code))
        await Promise.resolve()
      }
      t.deepEqual([...codes], ['ERR_CIO_QUEUE_SIZE'])
      while (
        !(await messages.send({ last: true }).then(
          () => true,
          () => false,
        ))
      ) {
        await new Promise((resolve) => setImmediate(resolve))
      }
      await messages.send({ last: true })
    })
    .useClient(msgpack())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const received: unknown[] = []
  await client.messages.each((message) => received.push(message))
  t.deepEqual(received.slice(-2), [{ last: true }, { last: true }])
})

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

/** Values that msgpackr counts differently from MessagePack, or converts with excessive cost. */
const strange: Record<string, string> = {
  'a key of a record that is a record': 'd47240 91a161 01 d47241 9240a162 01 02 03',
  'a number as a key': 'd47240 9105 01',
  'a key that is bytes': 'd47240 91c40161 01',
  'a definition with a map of keys': 'd47240 81a16101 01',
  'an id that is not of a record': 'd47205 91a161 01',
  'an id of two bytes': 'd5724000 91a161 01',
  'a definition in an extension of another length': 'c70172 40 91a161 01',
  'an error whose message is a list': 'd46500 93 a54572726f72 91 01 c0',
  'an expression whose flags are a list': 'd47800 92 a161 80',
  'an expression of a map': 'd47800 82 a16101 a16201',
  'a set of a text': 'd47300 a161',
  'a set of a set': 'd47300 d47300 90',
  'a bigint that is too long': `c80401 42 ${'ff'.repeat(1025)}`,
}
for (const [name, text] of Object.entries(strange)) {
  test(`${name} is refused before msgpackr sees it`, async (t) => {
    const codec = msgpack({ moreTypes: true, structuredClone: true })
    const { error } = await receive(t, codec, [hex(text)])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.is(error?.cause, undefined)
  })
}

test('an empty record is delivered with its last byte', async (t) => {
  const bytes = Buffer.from(new Packr({ sequential: true }).pack({}))
  t.deepEqual(bytes, hex('d4724090'))
  for (let cut = 0; cut <= bytes.length; cut++) {
    const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
    t.deepEqual(await receive(t, msgpack(), pieces), { messages: [{}], error: undefined })
  }
})

test('an unregistered extension is reported as well-formed and not supported', async (t) => {
  for (const text of ['d43300', 'c7023301 02', 'd6ee 01020304']) {
    const { error } = await receive(t, msgpack(), [hex(text)])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.regex(error!.message, /well-formed MessagePack.*not supported/)
  }
})

test('keys of no length do not fill the memory', async (t) => {
  const count = 10_000
  const definitions = Array.from({ length: 64 }, (_, id) =>
    Buffer.concat([
      Buffer.from([0xd4, 0x72, 0x40 + id, 0xdc, count >> 8, count & 0xff]),
      Buffer.alloc(count, 0xa0),
      Buffer.alloc(count, 1),
    ]),
  )
  const { messages, error } = await receive(t, msgpack(), definitions)
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  t.true(messages.length < 10)
})

test('a set or map of many numbers with one hash is refused', async (t) => {
  const same = Array.from({ length: 20_000 }, (_, index) => (BigInt(index) << 64n) | 1n)
  const packr = new Packr({ moreTypes: true, useBigIntExtension: true, mapsAsObjects: false })
  // By hand: to fill a set or map of this kind is what takes so long.
  const keys = same.map((key) => Buffer.from(packr.pack(key)))
  const one = Buffer.from([1])
  const set = Buffer.concat([Buffer.from('d47300dc4e20', 'hex'), ...keys])
  const map = Buffer.concat([Buffer.from('de4e20', 'hex'), ...keys.flatMap((key) => [key, one])])
  for (const bytes of [set, map]) {
    const codec = msgpack({ moreTypes: true, mapsAsObjects: false })
    const { error } = await receive(t, codec, [bytes])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.is(error?.cause, undefined)
  }
})

test('an option that msgpack does not know is refused', (t) => {
  t.throws(() => msgpack({ structures: [] } as object), { code: 'ERR_CIO_OPTION' })
})

test('without records it is standard MessagePack, in both directions', async (t) => {
  const app = new Cio()
    .useConnection(msgpack({ useRecords: false, variableMapSize: true }))
    .useConnection(async (ctx) => {
      for await (const message of ctx.messages) await ctx.messages.send(message)
    })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end(pack({ a: 1 }))
  const chunks: Buffer[] = await socket.toArray()
  t.deepEqual(Buffer.concat(chunks), Buffer.from([0x81, 0xa1, 0x61, 1]))
  const record = new Packr({ sequential: true }).pack({ a: 1 })
  const { error } = await receive(t, msgpack({ useRecords: false }), [Buffer.from(record)])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
})

test('bigints, dates, bytes and undefined come through', async (t) => {
  const sent = [
    2n ** 63n,
    -(2n ** 63n),
    5n,
    new Date(1_234_567),
    Buffer.from('bytes'),
    undefined,
    null,
  ]
  const app = new Cio()
    .useConnection(msgpack())
    .useConnection((ctx) => ctx.messages.sendMany(sent))
    .useClient(msgpack())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const received: unknown[] = []
  await client.messages.each((message) => received.push(message))
  t.deepEqual(
    received,
    sent.map((value) => (value === 5n ? 5n : value)),
  )
})

class Point {
  readonly x: number
  constructor(x: number) {
    this.x = x
  }
}
class Raw extends Point {}
addExtension({
  Class: Point,
  type: 11,
  write: (point: Point) => [point.x, { more: 'values' }],
  read: ([x]: [number]) => new Point(x),
})
addExtension({
  Class: Raw,
  type: 12,
  pack: (raw: Raw) => Buffer.from(String(raw.x)),
  unpack: (bytes: Buffer) => new Raw(Number(bytes.toString())),
})

test('custom extensions arrive, however the input is chunked', async (t) => {
  const sent = [new Point(1), [new Raw(22), new Point(3), 'x'], new Raw(4)]
  const packr = new Packr({ sequential: true })
  const bytes = Buffer.concat(sent.map((value) => Buffer.from(packr.pack(value))))
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, msgpack(), [
      bytes.subarray(0, cut),
      bytes.subarray(cut),
    ])
    t.is(error, undefined)
    t.deepEqual(messages, sent)
  }
})

test('sets and errors arrive with moreTypes, and are refused without', async (t) => {
  const packr = new Packr({ moreTypes: true })
  const bytes = Buffer.concat(
    [new Set([1, [2]]), new Float64Array([0.5]), /a/g].map((value) =>
      Buffer.from(packr.pack(value)),
    ),
  )
  for (let cut = 1; cut < bytes.length; cut++) {
    const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
    const { messages, error } = await receive(t, msgpack({ moreTypes: true }), pieces)
    t.is(error, undefined)
    t.deepEqual(messages, [new Set([1, [2]]), new Float64Array([0.5]), /a/g])
  }
  t.is((await receive(t, msgpack(), [bytes])).error?.code, 'ERR_CIO_SYNTAX')
})

test('a reused record id replaces the earlier record', async (t) => {
  const key = Buffer.from(pack('k'.repeat(30_000)))
  const same = Array.from({ length: 60 }, () =>
    Buffer.concat([Buffer.from([0xd4, 0x72, 0x40, 0x91]), key, Buffer.from([1])]),
  )
  const { messages, error } = await receive(t, msgpack(), same)
  t.is(error, undefined)
  t.is(messages.length, 60)
})

test('a key named __proto__ changes no prototype', async (t) => {
  const proto = Buffer.from('\xa9__proto__\x81\xa8polluted\xc3', 'latin1')
  const map = Buffer.concat([Buffer.from([0x81]), proto])
  const record = Buffer.concat([Buffer.from([0xd4, 0x72, 0x40, 0x91]), proto])
  const again = Array.from({ length: 5 }, () =>
    Buffer.concat([Buffer.from([0x40]), proto.subarray(10)]),
  )
  const { messages } = await receive(t, msgpack(), [map, record, ...again])
  t.is(messages.length, 7)
  for (const message of messages) t.is(Object.getPrototypeOf(message), Object.prototype)
  t.false('polluted' in {})
})

test('maps become Maps with mapsAsObjects: false', async (t) => {
  const { messages } = await receive(t, msgpack({ mapsAsObjects: false }), [
    Buffer.from(pack({ a: 1 })),
  ])
  t.deepEqual(messages, [new Map([['a', 1]])])
})

test('an option out of its range is refused when it is made', (t) => {
  t.throws(() => msgpack({ maxDepth: 0 }), { code: 'ERR_CIO_OPTION', message: /maxDepth/ })
})
