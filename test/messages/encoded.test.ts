import test from 'ava'
import { Duplex } from 'node:stream'
import { msgpack } from '../../middleware/msgpack.ts'
import { Cio, type Encoded, type Middleware, json } from '../../src/index.ts'
import { type Messages, messages } from '../../src/kit.ts'
import { LineDecoder } from '../../src/messages/frame-decoder.ts'
import type { MessagesContext } from '../../src/messages/messages.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { readAll, serve } from '../support/serve.ts'
import { duplexPair } from '../support/duplex-pair.ts'

type Codec = Middleware<StreamContext, MessagesContext<unknown>>

/** The messages of so many connections, each of its own pair, and what their clients receive. */
function connections(
  codec: Codec,
  count: number,
): { all: Messages<unknown>[]; received: Promise<string[]>; end: () => Promise<void> } {
  const all: Messages<unknown>[] = []
  const app = new Cio().useConnection(codec).useConnection(async (ctx) => {
    all.push(ctx.messages)
    await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve))
  })
  const texts = Array.from({ length: count }, () => {
    const [near, far] = duplexPair()
    app.handle(near)
    far.resume()
    const text = readAll(far)
    void text.then(() => far.end())
    return text
  })
  return {
    all,
    received: Promise.all(texts),
    async end() {
      await app.close({ timeout: Infinity })
    },
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Counts how often it encodes. */
function counting(encoded: unknown[]): Codec {
  const encode = (message: unknown): string => {
    encoded.push(message)
    return `${String(message)}\n`
  }
  return messages<unknown>({
    name: 'counting',
    encoder: () => encode,
    decoder: () => new LineDecoder<unknown>('counting', 100, (line) => line),
  })
}

test('a message is encoded once for all connections of a codec', async (t) => {
  const encoded: unknown[] = []
  const { all, received, end } = connections(counting(encoded), 5)
  await turn()
  const once = all[0]!.encode('hello')
  for (const one of all) await one.sendEncoded(once)
  t.deepEqual(encoded, ['hello'])
  await end()
  t.deepEqual(
    await received,
    all.map(() => 'hello\n'),
  )
})

test('encoded messages keep their order among those that are sent', async (t) => {
  const { all, received, end } = connections(json(), 1)
  await turn()
  const [one] = all
  const encoded = [1, 2, 3, 4].map((message) => one!.encode(message))
  void one!.sendEncoded(encoded[0]!)
  void one!.sendEncoded(encoded[1]!)
  void one!.send('a')
  void one!.sendEncoded(encoded[2]!)
  await turn()
  void one!.send('b')
  void one!.sendEncoded(encoded[3]!)
  await end()
  t.deepEqual(await received, ['1\n2\n"a"\n3\n"b"\n4\n'])
})

test('a message of another codec is refused, and so is what nothing has encoded', async (t) => {
  const [ours, theirs] = [connections(json(), 1), connections(json({ maxLength: 10 }), 1)]
  await turn()
  const [mine, other] = [ours.all[0]!, theirs.all[0]!]
  const encoded = mine.encode(1)
  t.true(mine.accepts(encoded))
  t.false(other.accepts(encoded))
  await t.throwsAsync(other.sendEncoded(encoded), {
    code: 'ERR_CIO_ENCODE',
    message: /^json: another codec has encoded the message for /,
  })
  for (const forged of [{}, { form: json }, null, 'text']) {
    await t.throwsAsync(other.sendEncoded(forged as unknown as Encoded), { code: 'ERR_CIO_ENCODE' })
  }
  await Promise.all([ours.end(), theirs.end()])
  t.deepEqual(await ours.received, [''])
  t.deepEqual(await theirs.received, [''])
})

test('a codec with state encodes for each connection, so that each can decode', async (t) => {
  const app = new Cio()
    .useConnection(msgpack())
    .useConnection(async (ctx) => {
      members.push(ctx.messages)
      await ctx.messages.next()
    })
    .useClient(msgpack())
  const members: Messages<unknown>[] = []
  const server = await serve(t, app)
  const first = await app.connect(server.port)
  const point = { latitude: 1, longitude: 2 }
  while (members.length < 1) await turn()
  // The first connection has the record's keys already, the second has not.
  await members[0]!.send(point)
  const second = await app.connect(server.port)
  while (members.length < 2) await turn()
  const encoded = members[1]!.encode(point)
  for (const member of members) await member.sendEncoded(encoded)
  t.deepEqual((await first.messages.next()).value, point)
  t.deepEqual((await first.messages.next()).value, point)
  t.deepEqual((await second.messages.next()).value, point)
})

test('what has no form in a codec is refused when it is encoded, with state or without', async (t) => {
  for (const codec of [json(), msgpack(), msgpack({ useRecords: false })]) {
    const { all, end } = connections(codec, 1)
    await turn()
    t.throws(() => all[0]!.encode(2n ** 70n), { code: 'ERR_CIO_ENCODE' })
    await end()
  }
})

test('encoded messages count for maxQueueSize, and `queued` says how many bytes wait', async (t) => {
  const app = new Cio()
    .useConnection(json({ maxQueueSize: 300_000 }))
    .useConnection(async ({ messages }) => {
      const encoded = messages.encode('x'.repeat(200_000))
      void messages.sendEncoded(encoded)
      t.true(messages.queued >= 200_000)
      void messages.sendEncoded(encoded)
      await t.throwsAsync(messages.sendEncoded(encoded), { code: 'ERR_CIO_QUEUE_SIZE' })
    })
  const [near, far] = duplexPair()
  far.on('error', () => {})
  const ctx = app.handle(near)
  setImmediate(() => ctx.destroy(new Error('done')))
  app.on('error', () => {})
  await ctx.closed
})

test('an encoded message has the error of a closed connection', async (t) => {
  const { all, end } = connections(json(), 1)
  await turn()
  const encoded = all[0]!.encode(1)
  await end()
  await t.throwsAsync(all[0]!.sendEncoded(encoded), { code: 'ERR_CIO_CLOSED' })
})

test('of the encoded messages of one turn, all after the first are written together', async (t) => {
  const writes: number[] = []
  const stream = new Duplex({
    read() {},
    writev(chunks, callback) {
      writes.push(chunks.length)
      callback()
    },
    final(callback) {
      this.push(null)
      callback()
    },
  })
  const app = new Cio().useConnection(json()).useConnection(async ({ messages }) => {
    const encoded = messages.encode(1)
    for (let sent = 0; sent < 50; sent++) await messages.sendEncoded(encoded)
    await turn()
    await messages.sendEncoded(encoded)
  })
  await app.handle(stream).closed
  t.deepEqual(writes, [1, 49, 1])
})
