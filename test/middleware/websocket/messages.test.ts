import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type StringValue, StringValueSchema } from '@bufbuild/protobuf/wkt'
import test, { type ExecutionContext } from 'ava'
import { decode as decodeCbor, encode as encodeCbor } from 'cbor-x'
import { expectTypeOf } from 'expect-type'
import { pack, unpack } from 'msgpackr'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { type ClientOptions, WebSocket } from 'ws'
import { cbor } from '../../../middleware/cbor.ts'
import { msgpack } from '../../../middleware/msgpack.ts'
import { protobuf } from '../../../middleware/protobuf.ts'
import {
  type WebsocketOptions,
  bySubprotocol,
  subprotocolOf,
  websocket,
  wholeMessages,
} from '../../../middleware/websocket.ts'
import {
  Cio,
  type MessagesContext,
  type Middleware,
  type StreamContext,
  codec,
  frames,
  json,
  lines,
  rpc,
} from '../../../src/index.ts'
import { type Messages, Peek } from '../../../src/kit.ts'
import { nextEvent } from '../../support/transports.ts'
import { serve } from '../../support/serve.ts'

/** Serves an app over WebSockets, and returns the port. */
async function port(t: ExecutionContext, app: Cio, options?: WebsocketOptions): Promise<number> {
  return (await serve(t, new Cio().useConnection(websocket(app, options)))).port
}

/** Connects a client of the package ws. */
async function dial(
  t: ExecutionContext,
  at: number,
  subprotocols: string[] = [],
  options: ClientOptions = {},
): Promise<WebSocket> {
  const client = new WebSocket(`ws://127.0.0.1:${at}/`, subprotocols, options)
  t.teardown(() => client.terminate())
  client.on('error', () => {})
  await once(client, 'open')
  return client
}

/** The next messages: text as strings. */
function receive(client: WebSocket, count: number): Promise<(string | Buffer)[]> {
  const received: (string | Buffer)[] = []
  return new Promise((resolve, reject) => {
    client.on('message', (data: Buffer, isBinary) => {
      received.push(isBinary ? data : data.toString())
      if (received.length === count) resolve(received)
    })
    client.once('close', (code) => reject(new Error(`closed with ${code}`)))
  })
}

/** An app that sends back each message. */
function echo(codec: unknown): Cio {
  return new Cio()
    .useConnection(codec as Middleware<StreamContext, MessagesContext<unknown>>)
    .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
}

/** A frame of a client, masked by zeros. */
function frame(opcode: number, payload: Buffer, isLast = true): Buffer {
  const { length } = payload
  const head = [opcode | (isLast ? 0x80 : 0)]
  if (length < 126) head.push(0x80 | length)
  else head.push(0x80 | 126, length >> 8, length & 0xff)
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload])
}

/** Makes the handshake by hand, so that frames can be cut anywhere. */
async function dialRaw(t: ExecutionContext, at: number): Promise<Socket> {
  const socket = connect(at, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {}).setNoDelay(true)
  socket.write(
    [
      'GET / HTTP/1.1',
      'Host: here',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    ].join('\r\n'),
  )
  const [head] = (await once(socket, 'data')) as [Buffer]
  t.regex(String(head), /^HTTP\/1\.1 101 /)
  return socket
}

const text = (value: string): Buffer =>
  Buffer.from(toBinary(StringValueSchema, create(StringValueSchema, { value })))
const readText = (bytes: Buffer): string =>
  fromBinary<typeof StringValueSchema>(StringValueSchema, bytes).value
const decodeText = (bytes: Buffer): StringValue => fromBinary(StringValueSchema, bytes)
const string = (bytes: unknown): unknown => bytes

interface Sample {
  readonly codec: () => unknown
  readonly encode: (message: string) => string | Buffer
  readonly decode: (payload: never) => unknown
}

const samples: Record<string, Sample> = {
  json: { codec: json, encode: (m) => JSON.stringify(m), decode: JSON.parse },
  lines: { codec: lines, encode: (m) => m, decode: string },
  cbor: { codec: cbor, encode: encodeCbor, decode: decodeCbor },
  msgpack: {
    codec: () => msgpack({ useRecords: false }),
    encode: pack as (m: string) => Buffer,
    decode: unpack,
  },
  protobuf: { codec: () => protobuf(StringValueSchema), encode: text, decode: readText },
  'protobuf with a frame format of its own': {
    codec: () => protobuf(StringValueSchema, { length: 4 }),
    encode: text,
    decode: readText,
  },
  codec: {
    codec: () => codec({ encode: (m: StringValue) => text(m.value), decode: decodeText }),
    encode: text,
    decode: readText,
  },
  'wholeMessages of text': { codec: wholeMessages, encode: (m) => m, decode: string },
  'wholeMessages of bytes': {
    codec: wholeMessages,
    encode: (m) => Buffer.from(m),
    decode: (bytes: Buffer) => bytes.toString(),
  },
}

const said = ['one', '', 'two \u00fc \ud83d\ude00', 'x'.repeat(40_000), 'last']

for (const [name, { codec, encode, decode }] of Object.entries(samples)) {
  test(`${name}: each message is one WebSocket message, without framing`, async (t) => {
    const client = await dial(t, await port(t, echo(codec())))
    const received = receive(client, said.length)
    // In one turn, so that they reach the server in few chunks, and are answered in one turn.
    for (const message of said) client.send(encode(message))
    const payloads = await received
    t.deepEqual(
      payloads.map((payload) => decode(payload as never)),
      said,
    )
    t.deepEqual(
      payloads.map((payload) => typeof payload),
      said.map((message) => typeof encode(message)),
    )
  })

  test(`${name}: fragments, pings and cuts at every byte change nothing`, async (t) => {
    const at = await port(t, echo(codec()))
    const socket = await dialRaw(t, at)
    const wanted = ['abc', 'de']
    const sent = wanted.map((message) => {
      const content = encode(message)
      const bytes = Buffer.from(content as Buffer)
      const opcode = typeof content === 'string' ? 1 : 2
      return Buffer.concat([
        frame(opcode, bytes.subarray(0, 1), false),
        frame(9, Buffer.from('ping')),
        frame(0, Buffer.alloc(0), false),
        frame(0, bytes.subarray(1)),
      ])
    })
    let answer = Buffer.alloc(0)
    const size = wanted.reduce((sum, m) => sum + 2 + 6 + Buffer.from(encode(m) as Buffer).length, 0)
    const whole = new Promise<void>((resolve) => {
      socket.on('data', (chunk: Buffer) => {
        answer = Buffer.concat([answer, chunk])
        if (answer.length >= size) resolve()
      })
    })
    for (const byte of Buffer.concat(sent)) {
      socket.write(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await whole
    const payloads: Buffer[] = []
    for (let at = 0; at < answer.length; at += 2 + answer[at + 1]!) {
      if ((answer[at]! & 0x0f) === 10) continue
      t.is(answer[at]! & 0x80, 0x80)
      payloads.push(answer.subarray(at + 2, at + 2 + answer[at + 1]!))
    }
    const isText = typeof encode('') === 'string'
    const values = payloads.map((one) => decode((isText ? one.toString() : one) as never))
    t.deepEqual(values, wanted)
  })
}

test('records of msgpack live as long as the connection, over several messages', async (t) => {
  const client = await dial(t, await port(t, echo(msgpack())))
  const received = receive(client, 3)
  for (const x of [1, 2, 3]) client.send(pack({ x, name: 'a point' }))
  const sizes = (await received).map((payload) => payload.length)
  t.true(sizes[2]! < sizes[0]!, sizes.join())
})

test('rpc calls in both directions, without framing', async (t) => {
  let calling: { call(method: 'name'): Promise<string> }
  const app = new Cio()
    .useConnection(json())
    .useConnection(
      rpc<{ name(): string }, { greet(): Promise<string> }>({
        methods: { greet: async () => `hello ${await calling.call('name')}` },
      }),
    )
    .useConnection((ctx, next) => {
      calling = ctx.rpc
      return next()
    })
  const client = await dial(t, await port(t, app))
  client.send('{"jsonrpc":"2.0","id":"a","method":"greet"}')
  const [call] = (await once(client, 'message')) as [Buffer]
  const { id, method } = JSON.parse(String(call)) as { id: number; method: string }
  t.is(method, 'name')
  client.send(JSON.stringify({ jsonrpc: '2.0', id, result: 'ann' }))
  const [answer] = (await once(client, 'message')) as [Buffer]
  t.is(String(answer), '{"jsonrpc":"2.0","id":"a","result":"hello ann"}')
})

test('empty messages are handed out by themselves, of text and of bytes', async (t) => {
  const client = await dial(t, await port(t, echo(wholeMessages())))
  for (const payload of ['', Buffer.alloc(0)]) {
    const received = receive(client, 1)
    client.send(payload)
    t.deepEqual(await received, [payload])
    client.removeAllListeners('message')
  }
})

test('what comes before the codec reads is kept, of a flood of empty messages a part', async (t) => {
  let go!: () => void
  const gone = new Promise<void>((resolve) => (go = resolve))
  const app = new Cio()
    .useConnection((_ctx, next) => gone.then(next))
    .useConnection(wholeMessages())
    .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
  const client = await dial(t, await port(t, app))
  for (const one of ['a', '', 'b']) client.send(one)
  for (let count = 0; count < 1_000; count++) client.send('')
  const received: string[] = []
  client.on('message', (data: Buffer) => received.push(String(data)))
  client.ping()
  await once(client, 'pong')
  go()
  client.send('last')
  while (received.at(-1) !== 'last') await once(client, 'message')
  t.deepEqual(received.slice(0, 3), ['a', '', 'b'])
  t.true(received.length <= 3 + 64 + 1, `${received.length}`)
})

test('empty messages before the codec, and then the end, are all handed out', async (t) => {
  let go!: () => void
  const gone = new Promise<void>((resolve) => (go = resolve))
  const received: (string | Buffer)[] = []
  const app = new Cio()
    .useConnection((_ctx, next) => gone.then(next))
    .useConnection(wholeMessages())
    .useConnection(({ messages }) => messages.each((message) => void received.push(message)))
  const closed = once(app, 'close')
  const client = await dial(t, await port(t, app))
  for (const one of ['', 'a', '']) client.send(one)
  client.close()
  await once(client, 'close')
  go()
  await closed
  t.deepEqual(received, ['', 'a', ''])
})

test('blank messages of json are ignored, as blank lines are', async (t) => {
  const client = await dial(t, await port(t, echo(json())))
  const received = receive(client, 1)
  for (const one of ['', '[1]\r\n']) client.send(one)
  t.deepEqual(await received, ['[1]'])
})

const refusals: readonly [what: string, codec: unknown, payload: string | Buffer, code: string][] =
  [
    ['two values', json(), '1\n2', 'ERR_CIO_SYNTAX'],
    ['bytes that are not UTF-8', json(), Buffer.from('"\xff"', 'latin1'), 'ERR_CIO_SYNTAX'],
    ['bytes that are not UTF-8', lines(), Buffer.of(255), 'ERR_CIO_SYNTAX'],
    ['a second line', lines(), 'one\ntwo', 'ERR_CIO_SYNTAX'],
    ['two values', cbor(), Buffer.of(1, 2), 'ERR_CIO_SYNTAX'],
    ['nothing', cbor(), Buffer.alloc(0), 'ERR_CIO_SYNTAX'],
    ['a part of a value', cbor(), Buffer.of(0x82, 1), 'ERR_CIO_SYNTAX'],
    ['two values', msgpack(), Buffer.of(1, 2), 'ERR_CIO_SYNTAX'],
    ['a part of a value', msgpack(), Buffer.of(0x92, 1), 'ERR_CIO_SYNTAX'],
    ['no message', protobuf(StringValueSchema), Buffer.of(0x0a, 9), 'ERR_CIO_SYNTAX'],
  ]

for (const [what, codec, payload, code] of refusals) {
  const name = (codec as Middleware).hints?.name
  test(`${name} refuses ${what} in one message, and closes with 1008 (${String(payload)})`, async (t) => {
    const app = echo(codec)
    const client = await dial(t, await port(t, app))
    const reported = nextEvent(app, 'remoteError')
    client.send(payload)
    const [closedWith] = (await once(client, 'close')) as [number]
    t.is(closedWith, 1008)
    t.is((await reported)[0].code, code)
  })
}

for (const [name, make, overhead] of [
  ['json', (maxLength: number) => json({ maxLength }), 2],
  ['wholeMessages', (maxLength: number) => wholeMessages({ maxLength }), 0],
] as const) {
  test(`${name}: a message above maxLength closes with 1009, one of that length passes`, async (t) => {
    const app = echo(make(100))
    const at = await port(t, app)
    const quote = overhead === 2 ? '"' : ''
    const client = await dial(t, at)
    const received = receive(client, 1)
    const longest = `${quote}${'x'.repeat(100 - overhead)}${quote}`
    client.send(longest)
    t.deepEqual(await received, [longest])

    const reported = nextEvent(app, 'remoteError')
    const other = await dial(t, at)
    other.send(`${quote}${'x'.repeat(101 - overhead)}${quote}`)
    const [closedWith] = (await once(other, 'close')) as [number]
    t.is(closedWith, 1009)
    t.is((await reported)[0].code, 'ERR_CIO_MESSAGE_TOO_LONG')
  })
}

test('a line with a line feed, and what is no message, cannot be sent', async (t) => {
  const codes: unknown[] = []
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }) => {
    await messages.send('a\nb').catch((error: { code: string }) => codes.push(error.code))
  })
  const raw = new Cio().useConnection(wholeMessages()).useConnection(async ({ messages }) => {
    await messages.send({} as never).catch((error: { code: string }) => codes.push(error.code))
  })
  const odd = new Cio()
    .useConnection(codec({ encode: () => 7 as never, decode: String }))
    .useConnection(async ({ messages }) => {
      await messages.send('').catch((error: { code: string }) => codes.push(error.code))
    })
  for (const one of [app, raw, odd]) {
    const client = await dial(t, await port(t, one))
    if (client.readyState !== client.CLOSED) await once(client, 'close')
  }
  t.deepEqual(codes, ['ERR_CIO_ENCODE', 'ERR_CIO_ENCODE', 'ERR_CIO_ENCODE'])
})

test('a codec without a form for borders, and one with borders: false, use a stream of bytes', async (t) => {
  for (const [codec, options, sent, answer] of [
    [
      frames({ length: 1 }),
      {},
      [Buffer.of(3, 97), '', Buffer.of(98, 99, 1), Buffer.alloc(0), Buffer.of(100)],
      'abc,d',
    ],
    [lines(), { borders: false }, ['ab', 'c\nd\n'], 'abc,d'],
  ] as const) {
    const received: string[] = []
    const some = codec as Middleware<StreamContext, MessagesContext<unknown>>
    const app = new Cio().useConnection(some).useConnection(async (ctx) => {
      const { messages } = ctx
      await messages.each((message) => {
        received.push(String(message))
        if (received.length === 2) ctx.destroy()
      })
    })
    const client = await dial(t, await port(t, app, options))
    for (const one of sent) client.send(one)
    await once(client, 'close')
    t.is(received.join(), answer)
  }
})

test('what a middleware takes of a message before the codec is gone, and the rest is a message', async (t) => {
  const app = new Cio()
    .useConnection(async ({ stream }, next) => {
      const peek = new Peek(stream, { maxSize: 64, timeout: 60_000 })
      stream.write(`token ${await peek.takeLine()}`)
      peek.release()
      await next()
    })
    .useConnection(wholeMessages())
    .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
  const client = await dial(t, await port(t, app))
  const received = receive(client, 4)
  for (const one of ['tok', 'en\nrest', '', 'next']) client.send(one)
  t.deepEqual(await received, ['token token', 'rest', '', 'next'])
})

test('encode() makes text for WebSockets, and no other carrier takes it', async (t) => {
  const shared = json()
  const sent: boolean[] = []
  const app = new Cio().useConnection(shared).useConnection(async ({ messages }) => {
    await messages.next()
    const encoded = messages.encode({ a: 1 })
    t.is(encoded.size, 7)
    await messages.sendEncoded(encoded)
    const bare = new Cio().useConnection(shared).useConnection((ctx) => {
      sent.push(ctx.messages.accepts(encoded))
    })
    const { port: at } = await serve(t, bare)
    await once(connect(at, '127.0.0.1').resume(), 'close')
  })
  const client = await dial(t, await port(t, app))
  const received = receive(client, 1)
  client.send('0')
  t.deepEqual(await received, ['{"a":1}'])
  if (client.readyState !== client.CLOSED) await once(client, 'close')
  t.deepEqual(sent, [false])
})

test('wholeMessages needs a carrier with borders', async (t) => {
  const app = echo(wholeMessages())
  const reported = nextEvent(app, 'error')
  const { port: at } = await serve(t, app)
  const socket = connect(at, '127.0.0.1')
  t.teardown(() => socket.destroy())
  const [error] = await reported
  t.is((error as { code?: string }).code, 'ERR_CIO_REQUIRES')
  t.throws(() => wholeMessages({ validate: true } as never), { code: 'ERR_CIO_OPTION' })
})

/** The HTTP status of a refused upgrade. */
async function refused(at: number, subprotocols: string[]): Promise<number | undefined> {
  const client = new WebSocket(`ws://127.0.0.1:${at}/`, subprotocols)
  client.on('error', () => {})
  const [, response] = (await once(client, 'unexpected-response')) as [
    unknown,
    { statusCode: number },
  ]
  client.terminate()
  return response.statusCode
}

test('the first subprotocol of the client that is listed is chosen, and unknown ones are refused', async (t) => {
  const seen: unknown[] = []
  const app = new Cio().useConnection((ctx) => void seen.push(subprotocolOf(ctx)))
  const at = await port(t, app, { subprotocols: ['v1', 'v2'] })
  t.is((await dial(t, at, ['v3', 'v2', 'v1'])).protocol, 'v2')
  t.is((await dial(t, at)).protocol, '')
  t.deepEqual(seen, ['v2', undefined])
  t.is(await refused(at, ['v3', 'V1']), 400)
  t.is(await refused(await port(t, app), ['v1']), 400)
})

test('the codec is chosen by the subprotocol', async (t) => {
  const codecs = { 'v1.json': json(), 'v1.msgpack': msgpack({ useRecords: false }) }
  const app = new Cio().useConnection(bySubprotocol(codecs)).useConnection(({ messages }) => {
    expectTypeOf(messages).toEqualTypeOf<Messages<unknown>>()
    return messages.each((message) => messages.send({ echo: message }))
  })
  const at = await port(t, app, { subprotocols: Object.keys(codecs) })
  const text = await dial(t, at, ['v1.json'])
  text.send('1')
  t.deepEqual(await receive(text, 1), ['{"echo":1}'])
  const binary = await dial(t, at, ['v1.msgpack'])
  binary.send(pack(1))
  t.deepEqual(unpack((await receive(binary, 1))[0] as Buffer), { echo: 1 })

  const reported = nextEvent(app, 'remoteError')
  const none = await dial(t, at)
  const [closedWith] = (await once(none, 'close')) as [number]
  t.is(closedWith, 1008)
  t.regex((await reported)[0].message, /asked for no subprotocol/)
})

test('options of the wrong kind are refused', (t) => {
  const app = new Cio()
  for (const options of [{ subprotocols: 'v1' }, { subprotocols: ['v 1'] }, { borders: 'none' }]) {
    t.throws(() => websocket(app, options as never), { code: 'ERR_CIO_OPTION' })
  }
  t.throws(() => bySubprotocol({ v1: 1 as never }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => bySubprotocol({ 'v 1': json() }), { code: 'ERR_CIO_OPTION' })
})
