import test from 'ava'
import fc from 'fast-check'
import { Packr, PackrStream, UnpackrStream, addExtension, pack } from 'msgpackr'
import { once } from 'node:events'
import { pipeline } from 'node:stream/promises'
import { msgpack, type MsgpackOptions } from '../../middleware/msgpack.ts'
import { Cio, type CioError } from '../../src/index.ts'
import { codecContract } from '../contracts/codec.ts'
import { dial, serve } from '../support/serve.ts'

const noProto = (value: unknown): boolean => !JSON.stringify(value).includes('__proto__')
const plain = new Packr({ useRecords: false })
const values = fc
  .jsonValue({ maxDepth: 2 })
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown)
  .filter(noProto)

codecContract<unknown>(test, {
  codec: msgpack,
  arbitrary: values,
  ofLength: (bytes) =>
    'x'.repeat(bytes - (bytes < 33 ? 1 : bytes < 258 ? 2 : bytes < 65_539 ? 3 : 5)),
  encode: (value) => Buffer.from(plain.pack(value)),
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
  options: MsgpackOptions = {},
): Promise<Outcome> {
  const messages: unknown[] = []
  let error: CioError | undefined
  const app = new Cio().useConnection(msgpack(options)).useConnection(async (ctx) => {
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
  const packr = new Packr({ sequential: true })
  const bytes = Buffer.concat(objects.slice(0, 4).map((value) => Buffer.from(packr.pack(value))))
  t.true(bytes.includes(Buffer.from([0xd4, 0x72])))
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
    t.is(error, undefined)
    t.deepEqual(messages, objects.slice(0, 4))
  }
})

test('it talks with the streams of msgpackr at the other end', async (t) => {
  const app = new Cio().useConnection(msgpack()).useConnection(async ({ messages }) => {
    for await (const message of messages) await messages.send(message)
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const back: unknown[] = []
  const reading = pipeline(socket, new UnpackrStream(), async (source) => {
    for await (const message of source) back.push(message)
  })
  await pipeline(objects, new PackrStream(), socket, { end: true })
  await reading
  t.deepEqual(back, objects)
})

test('connections share no records', async (t) => {
  const app = new Cio()
    .useConnection(msgpack())
    .useConnection(async ({ messages }) => {
      for await (const message of messages) await messages.send(message)
    })
    .useClient(msgpack())
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
    .useConnection(msgpack())
    .useConnection(async ({ messages }) => {
      const bad = { fresh: { keys: 1 }, other: Symbol('none') }
      await t.throwsAsync(messages.send(bad), { code: 'ERR_CIO_ENCODE' })
      await t.throwsAsync(messages.send({ fresh: { keys: 2n ** 70n } }), { code: 'ERR_CIO_ENCODE' })
      await messages.send({ fresh: { keys: 1 }, other: 2 })
      await messages.send({ fresh: { keys: 3 }, other: 4 })
    })
    .useClient(msgpack())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const received: unknown[] = []
  await client.messages.each((message) => received.push(message))
  t.deepEqual(received, [
    { fresh: { keys: 1 }, other: 2 },
    { fresh: { keys: 3 }, other: 4 },
  ])
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

test('without records it is plain MessagePack, both ways', async (t) => {
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
  const { error } = await receive(t, [Buffer.from(record)], { useRecords: false })
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

test('extensions of one’s own come through wherever they are cut', async (t) => {
  const sent = [new Point(1), [new Raw(22), new Point(3), 'x'], new Raw(4)]
  const packr = new Packr({ sequential: true })
  const bytes = Buffer.concat(sent.map((value) => Buffer.from(packr.pack(value))))
  for (let cut = 1; cut < bytes.length; cut++) {
    const { messages, error } = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
    t.is(error, undefined)
    t.deepEqual(messages, sent)
  }
})

test('sets and errors come through with moreTypes, and are refused without', async (t) => {
  const packr = new Packr({ moreTypes: true })
  const bytes = Buffer.concat(
    [new Set([1, [2]]), new Float64Array([0.5]), /a/g].map((value) =>
      Buffer.from(packr.pack(value)),
    ),
  )
  for (let cut = 1; cut < bytes.length; cut++) {
    const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
    const { messages, error } = await receive(t, pieces, { moreTypes: true })
    t.is(error, undefined)
    t.deepEqual(messages, [new Set([1, [2]]), new Float64Array([0.5]), /a/g])
  }
  t.is((await receive(t, [bytes])).error?.code, 'ERR_CIO_SYNTAX')
})

const be32 = (token: number, count: number): Buffer => {
  const bytes = Buffer.from([token, 0, 0, 0, 0])
  bytes.writeUInt32BE(count, 1)
  return bytes
}

const hostile: Record<string, [bytes: Buffer, code: string]> = {
  'an array of 2^32 items': [be32(0xdd, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'a map of 2^32 entries': [be32(0xdf, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'a string of 2^32 bytes': [be32(0xdb, 2 ** 32 - 1), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'bytes of 2^31': [be32(0xc6, 2 ** 31), 'ERR_CIO_MESSAGE_TOO_LONG'],
  'an extension of 2^32 bytes': [
    Buffer.concat([be32(0xc9, 2 ** 32 - 1), Buffer.from([0x42])]),
    'ERR_CIO_MESSAGE_TOO_LONG',
  ],
  'arrays of a million items in each other': [
    Buffer.concat(Array.from({ length: 100 }, () => be32(0xdd, 1_000_000))),
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
}

for (const [name, [bytes, code]] of Object.entries(hostile)) {
  test(`${name} is refused without harm`, async (t) => {
    const before = process.memoryUsage().heapUsed
    for (const cut of [0, 1, 3, bytes.length >> 1]) {
      const outcome = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
      t.is(outcome.error?.code, code)
      t.is(outcome.error?.fault, 'peer')
    }
    t.true(process.memoryUsage().heapUsed - before < 100_000_000)
  })
}

test('what comes before something malformed is delivered, and its offset told', async (t) => {
  const { messages, error } = await receive(t, [Buffer.from([1, 2, 0xa1, 0x61, 0xc1])])
  t.deepEqual(messages, [1, 2, 'a'])
  t.regex(error!.message, /at byte 4 /)
})

test('random bytes end in messages or in an error of the peer, however they are cut', async (t) => {
  const boundaries = fc.array(fc.nat(40), { maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), boundaries, async (array, cuts) => {
      const bytes = Buffer.from(array)
      const whole = await receive(t, [bytes], { moreTypes: true, structuredClone: true })
      const pieces: Buffer[] = []
      let rest = bytes
      for (const cut of cuts) {
        pieces.push(rest.subarray(0, cut))
        rest = rest.subarray(cut)
      }
      const cutUp = await receive(t, [...pieces, rest], { moreTypes: true, structuredClone: true })
      if (whole.error) t.is(whole.error.fault, 'peer')
      t.is(cutUp.error?.code, whole.error?.code)
      t.deepEqual(cutUp.messages, whole.messages)
    }),
    { numRuns: 150 },
  )
})

test('records without end do not fill the memory', async (t) => {
  const key = 'k'.repeat(30_000)
  const definitions = Array.from({ length: 60 }, (_, id) =>
    Buffer.concat([
      Buffer.from([0xd4, 0x72, 0x40 + id, 0x91]),
      Buffer.from(pack(key + id)),
      Buffer.from([1]),
    ]),
  )
  const { messages, error } = await receive(t, definitions)
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  t.true(messages.length > 10 && messages.length < 60)
  // The same id again takes the place of the one before.
  const same = definitions.map((bytes) =>
    Buffer.concat([Buffer.from([0xd4, 0x72, 0x40]), bytes.subarray(3)]),
  )
  t.is((await receive(t, same)).messages.length, 60)
})

test('a key named __proto__ changes no prototype', async (t) => {
  const proto = Buffer.from('\xa9__proto__\x81\xa8polluted\xc3', 'latin1')
  const map = Buffer.concat([Buffer.from([0x81]), proto])
  const record = Buffer.concat([Buffer.from([0xd4, 0x72, 0x40, 0x91]), proto])
  const again = Array.from({ length: 5 }, () =>
    Buffer.concat([Buffer.from([0x40]), proto.subarray(10)]),
  )
  const { messages } = await receive(t, [map, record, ...again])
  t.is(messages.length, 7)
  for (const message of messages) t.is(Object.getPrototypeOf(message), Object.prototype)
  t.false('polluted' in {})
})

test('maps are read as Maps where that is asked for', async (t) => {
  const { messages } = await receive(t, [Buffer.from(pack({ a: 1 }))], { mapsAsObjects: false })
  t.deepEqual(messages, [new Map([['a', 1]])])
})

test('an option out of its range is refused when it is made', (t) => {
  t.throws(() => msgpack({ maxDepth: 0 }), { code: 'ERR_CIO_OPTION', message: /maxDepth/ })
})
