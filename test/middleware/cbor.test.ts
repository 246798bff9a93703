import test from 'ava'
import { DecoderStream, Encoder, EncoderStream, Tag, addExtension } from 'cbor-x'
import fc from 'fast-check'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { cbor, type CborOptions } from '../../middleware/cbor.ts'
import { Cio, type CioError } from '../../src/index.ts'
import { codecContract } from '../contracts/codec.ts'
import { dial, serve } from '../support/serve.ts'

const plain = new Encoder({ useRecords: false })
const values = fc
  .jsonValue({ maxDepth: 2 })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown)
  .filter((value) => !JSON.stringify(value).includes('__proto__'))

codecContract<unknown>(test, {
  codec: cbor,
  arbitrary: values,
  ofLength: (bytes) =>
    'x'.repeat(bytes - (bytes < 25 ? 1 : bytes < 258 ? 2 : bytes < 65_539 ? 3 : 5)),
  encode: (value) => Buffer.from(plain.encode(value)),
  truncated: 'ERR_CIO_TRUNCATED',
})

interface Outcome {
  readonly messages: unknown[]
  readonly error: CioError | undefined
}

/** What a server receives of these chunks, each a segment of its own. */
async function receive(
  t: Parameters<typeof serve>[0],
  chunks: readonly Buffer[],
  options: CborOptions = {},
): Promise<Outcome> {
  const messages: unknown[] = []
  let error: CioError | undefined
  const app = new Cio().useConnection(cbor(options)).useConnection(async (ctx) => {
    for await (const message of ctx.messages) messages.push(message)
  })
  app.on('clientError', (told) => (error = told as CioError))
  const server = await serve(t, app)
  const closed = once(app, 'close')
  const socket = await dial(t, server)
  socket.setNoDelay(true)
  for (const chunk of chunks) {
    socket.write(chunk)
    await new Promise((resolve) => setImmediate(resolve))
  }
  socket.end()
  socket.resume()
  await closed
  await app.close({ timeout: 0 })
  return { messages, error }
}

const objects = Array.from({ length: 40 }, (_, index) => ({
  kind: index % 3,
  nested: { at: index, [`own${index % 5}`]: [{ x: 1, y: null }] },
  text: 'é☃'.repeat(index),
}))

test('records come through wherever they are cut', async (t) => {
  const encoder = new Encoder({ sequential: true })
  const bytes = Buffer.concat(
    objects.slice(0, 4).map((value) => Buffer.from(encoder.encode(value))),
  )
  t.true(bytes.includes(Buffer.from([0xd9, 0xdf, 0xff])))
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
    t.is(error, undefined)
    t.deepEqual(messages, objects.slice(0, 4))
  }
})

test('it talks with the streams of cbor-x at the other end', async (t) => {
  const app = new Cio().useConnection(cbor()).useConnection(async ({ messages }) => {
    for await (const message of messages) await messages.send(message)
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const back: unknown[] = []
  const reading = pipeline(socket, new DecoderStream(), async (source) => {
    for await (const message of source) back.push(message)
  })
  await pipeline(objects, new EncoderStream(), socket, { end: true })
  await reading
  t.deepEqual(back, objects)
})

test('connections share no records', async (t) => {
  const app = new Cio()
    .useConnection(cbor())
    .useConnection(async ({ messages }) => {
      for await (const message of messages) await messages.send(message)
    })
    .useClient(cbor())
  const server = await serve(t, app)
  const clients = await Promise.all([1, 2, 3].map(() => app.connect(server.port)))
  for (const round of [1, 2, 3]) {
    for (const [index, client] of clients.entries()) {
      const message = { [`key${index}`]: round, [`also${index}`]: { round } }
      await client.messages.send(message)
      t.deepEqual(await client.messages.next(), { done: false, value: message })
    }
  }
})

test('a message that cannot be sent leaves the records of the connection whole', async (t) => {
  const app = new Cio()
    .useConnection(cbor())
    .useConnection(async ({ messages }) => {
      const bad = { fresh: { keys: 1 }, other: Symbol('none') }
      await t.throwsAsync(messages.send(bad), { code: 'ERR_CIO_ENCODE' })
      await messages.send({ fresh: { keys: 1 }, other: 2 })
      await messages.send({ fresh: { keys: 3 }, other: 4 })
    })
    .useClient(cbor())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const received: unknown[] = []
  await client.messages.each((message) => received.push(message))
  t.deepEqual(received, [
    { fresh: { keys: 1 }, other: 2 },
    { fresh: { keys: 3 }, other: 4 },
  ])
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
  const { error } = await receive(t, [Buffer.from(record)], { useRecords: false })
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
    const { messages, error } = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
    t.is(error, undefined)
    t.deepEqual(messages, sent)
  }
})

test('items of indefinite length come through wherever they are cut', async (t) => {
  const bytes = Buffer.from([0x9f, 1, 0xbf, 0x61, 0x61, 0x9f, 0xff, 0xff, 0x82, 2, 3, 0xff, 4])
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
    t.is(error, undefined)
    t.deepEqual(messages, [[1, { a: [] }, [2, 3]], 4])
  }
})

const be32 = (token: number, count: number): Buffer => {
  const bytes = Buffer.from([token, 0, 0, 0, 0])
  bytes.writeUInt32BE(count, 1)
  return bytes
}
const bigint = Buffer.concat([
  Buffer.from([0xc2]),
  be32(0x5a, 900_000),
  Buffer.alloc(900_000, 0xff),
])

const hostile: Record<string, [bytes: Buffer, code: string]> = {
  'an array of 2^32 items': [be32(0x9a, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'an array of 2^63 items': [Buffer.from('9b8000000000000000', 'hex'), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'a map of 2^32 entries': [be32(0xba, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'a string of 2^32 bytes': [be32(0x7a, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'bytes of 2^63': [Buffer.from('5b8000000000000000', 'hex'), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'arrays of a million items in each other': [
    Buffer.concat(Array.from({ length: 100 }, () => be32(0x9a, 1_000_000))),
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
  'a bigint that takes minutes': [bigint, 'ERR_CIO_SYNTAX'],
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
}

for (const [name, [bytes, code]] of Object.entries(hostile)) {
  test(`${name} is refused without harm`, async (t) => {
    const before = process.memoryUsage().heapUsed
    const start = process.cpuUsage()
    for (const cut of [0, 1, 3, bytes.length >> 1]) {
      const outcome = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
      t.is(outcome.error?.code, code)
      t.is(outcome.error?.fault, 'peer')
    }
    t.true(process.memoryUsage().heapUsed - before < 100_000_000)
    t.true(process.cpuUsage(start).user < 10_000_000)
  })
}

test('long bytes after a bigint that was cut are no bigint', async (t) => {
  const long = Buffer.alloc(2_000, 1)
  const rest = Buffer.concat([Buffer.from([0x41, 5]), Buffer.from(plain.encode(long))])
  const { messages, error } = await receive(t, [Buffer.from([0xc2]), rest])
  t.is(error, undefined)
  t.deepEqual(messages, [5n, long])
})

test('what comes before something malformed is delivered, and its offset told', async (t) => {
  const { messages, error } = await receive(t, [Buffer.from([1, 2, 0x61, 0x61, 0x1c])])
  t.deepEqual(messages, [1, 2, 'a'])
  t.regex(error!.message, /at byte 4 /)
})

test('random bytes end in items or in an error of the peer, however they are cut', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 60 }),
      fc.array(fc.nat(40), { maxLength: 4 }),
      async (array, cuts) => {
        const bytes = Buffer.from(array)
        const whole = await receive(t, [bytes])
        const pieces: Buffer[] = []
        let rest = bytes
        for (const cut of cuts) {
          pieces.push(rest.subarray(0, cut))
          rest = rest.subarray(cut)
        }
        const cutUp = await receive(t, [...pieces, rest])
        if (whole.error) t.is(whole.error.fault, 'peer')
        t.is(cutUp.error?.code, whole.error?.code)
        t.deepEqual(cutUp.messages, whole.messages)
      },
    ),
    { numRuns: 150 },
  )
})

test('what is malformed is told as such, also where the input ends before more of it was due', async (t) => {
  // An array of 40 items, the first of which has a reserved length.
  const { error } = await receive(t, [Buffer.from([0x98, 40]), Buffer.from([0x1c])])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
})

test('records without end do not fill the memory, whatever their numbers', async (t) => {
  const key = 'k'.repeat(30_000)
  const definitions = Array.from({ length: 60 }, (_, id) =>
    Buffer.concat([
      Buffer.from([0xd9, 0xdf, 0xff, 0x83]),
      Buffer.from(plain.encode(0xe000 + id * 1_000)),
      Buffer.from([0x81]),
      Buffer.from(plain.encode(key + id)),
      Buffer.from([1]),
    ]),
  )
  const { messages, error } = await receive(t, definitions)
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  t.true(messages.length > 10 && messages.length < 60)
})

test('a key named __proto__ changes no prototype', async (t) => {
  const map = Buffer.from('\xa1\x69__proto__\xa1\x68polluted\xf5', 'latin1')
  const { messages } = await receive(t, [map])
  t.is(Object.getPrototypeOf(messages[0]), Object.prototype)
  t.false('polluted' in {})
})

test('an option out of its range is refused when it is made', (t) => {
  t.throws(() => cbor({ maxDepth: 0 }), { code: 'ERR_CIO_OPTION', message: /maxDepth/ })
})
