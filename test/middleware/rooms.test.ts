import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { msgpack } from '../../middleware/msgpack.ts'
import {
  Cio,
  type CioError,
  type MessagesContext,
  type Middleware,
  type RoomsContext,
  type StreamContext,
  json,
  lines,
  rooms,
} from '../../src/index.ts'
import { LineDecoder } from '../../src/messages/frame-decoder.ts'
import { messages } from '../../src/kit.ts'
import { roomsContract } from '../contracts/rooms.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { many } from '../support/long.ts'
import { dial, serve } from '../support/serve.ts'

roomsContract(test, { create: (_, options) => [{ rooms: rooms(options) }] })

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** An app whose connections join a room and stay, until their client ends. */
function members<Out>(
  chat: ReturnType<typeof rooms<Out>>,
  codec: Middleware<StreamContext, MessagesContext<Out>> | Middleware<StreamContext, object>,
  room = 'red',
): Cio {
  const app = new Cio()
  app.on('remoteError', () => {})
  app.useConnection(codec as never)
  app.useConnection(chat as never)
  app.useConnection(async (ctx, next) => {
    await (ctx as unknown as RoomsContext).rooms.join(room)
    ctx.stream.resume()
    await next()
  })
  return app
}

/** The other side of a connection in memory, which keeps the lines that it receives. */
class Client {
  readonly stream: Duplex
  readonly received: string[] = []
  #rest = ''

  constructor(app: Cio) {
    const [near, far] = duplexPair()
    this.stream = far
    far.on('error', () => {})
    app.handle(near)
  }

  read(keep = (line: string): string => line): this {
    this.stream.on('data', (chunk: Buffer) => {
      const parts = (this.#rest + String(chunk)).split('\n')
      this.#rest = parts.pop()!
      this.received.push(...parts.map(keep))
    })
    return this
  }
}

/** The number at the beginning of a line: the lines of all members would fill the memory. */
const numberOf = (line: string): string => line.split(' ', 1)[0]!

const crowd = many(10_000, 1_000)

test.serial(
  `of ${crowd} members those that do not read are closed, and the others get all in order`,
  async (t) => {
    const count = crowd
    const chat = rooms<string>({ maxBacklog: 20_000 })
    const app = members(chat, lines())
    const slow = new Set<StreamContext>()
    app.on('slowMember', (error, ctx, room) => {
      slow.add(ctx)
      t.is(error.code, 'ERR_CIO_SLOW_MEMBER')
      t.is(room, 'red')
    })
    const clients = Array.from({ length: count }, () => new Client(app))
    const frozen = new Set(Array.from({ length: 10 }, (_, index) => clients[index * 97]!))
    for (const client of clients) if (!frozen.has(client)) client.read(numberOf)
    while (chat.members('red').size < count) await turn()

    // More than two buffers of Node hold, of any version.
    const text = 'x'.repeat(12_000)
    const sent: string[] = []
    for (let number = 0; number < 20; number++) {
      const message = `${number} ${text}`
      sent.push(numberOf(message))
      await chat.send('red', message)
    }
    t.is(slow.size, frozen.size)
    while (chat.members('red').size > count - frozen.size) await turn()
    t.deepEqual(await chat.send('red', 'end'), { members: count - frozen.size })
    sent.push('end')
    const rest = clients.filter((client) => !frozen.has(client))
    for (const client of rest) while (client.received.length < sent.length) await turn()
    t.true(rest.every(({ received }) => received.every((line, index) => line === sent[index])))
    t.true(rest.every(({ received }) => received.length === sent.length))
    await app.close({ timeout: 0 })
    t.is(chat.members('red').size, 0)
  },
)

test.serial('what rooms have held is free when their members have left', async (t) => {
  const chat = rooms<string>()
  const app = members(chat, lines())
  const held = (): number => {
    collect()
    const { heapUsed, arrayBuffers } = process.memoryUsage()
    return heapUsed + arrayBuffers
  }
  const round = async (): Promise<void> => {
    const clients = Array.from({ length: 300 }, () => new Client(app).read())
    while (chat.members('red').size < clients.length) await turn()
    for (let sent = 0; sent < 10; sent++) await chat.send('red', 'x'.repeat(1_000))
    for (const { stream } of clients) stream.end()
    while (chat.members('red').size > 0) await turn()
  }
  for (let warm = 0; warm < 3; warm++) await round()
  const before = held()
  for (let again = 0; again < 5; again++) await round()
  // Rooms that kept their members would hold 1,500 connections, of some kilobytes each.
  const growth = held() - before
  t.true(growth < 3_000_000, `${growth} bytes more`)
})

test('a large room is served in slices, between which the event loop turns', async (t) => {
  const chat = rooms<string>()
  const app = members(chat, lines())
  const clients = Array.from({ length: 2_000 }, () => new Client(app).read())
  while (chat.members('red').size < clients.length) await turn()
  let turns = 0
  const count = (): void => {
    turns += 1
    next = setImmediate(count)
  }
  let next = setImmediate(count)
  t.deepEqual(await chat.send('red', 'hello'), { members: 2_000 })
  clearImmediate(next)
  t.true(turns >= 3, `${turns} turns`)
  await app.close({ timeout: 0 })
})

test('messages of a large room keep their order, and a member that joins meanwhile gets later ones', async (t) => {
  const chat = rooms<string>()
  const app = members(chat, lines())
  const clients = Array.from({ length: 1_200 }, () => new Client(app).read())
  while (chat.members('red').size < clients.length) await turn()
  const all = ['one', 'two', 'three'].map((message) => chat.send('red', message))
  const late = new Client(app).read()
  while (chat.members('red').size <= clients.length) await turn()
  all.push(chat.send('red', 'four'))
  t.deepEqual(
    (await Promise.all(all)).map(({ members: reached }) => reached),
    [1_200, 1_200, 1_200, 1_201],
  )
  for (const client of [...clients, late]) {
    const wanted = client === late ? ['four'] : ['one', 'two', 'three', 'four']
    while (client.received.length < wanted.length) await turn()
    if (client.received.join() !== wanted.join()) t.deepEqual(client.received, wanted)
  }
  await app.close({ timeout: 0 })
})

test('a member that leaves does not get a message that is under way', async (t) => {
  const chat = rooms<string>()
  const app = members(chat, lines())
  const contexts: (StreamContext & RoomsContext)[] = []
  app.useConnection(async (ctx, next) => {
    contexts.push(ctx as unknown as StreamContext & RoomsContext)
    await next()
  })
  const clients = Array.from({ length: 1_000 }, () => new Client(app).read())
  while (chat.members('red').size < clients.length || contexts.length < clients.length) await turn()
  const sent = chat.send('red', 'one')
  contexts.at(-1)!.rooms.leave('red')
  t.deepEqual(await sent, { members: 999 })
  await contexts.at(-1)!.rooms.join('red')
  await chat.send('red', 'two')
  const last = clients.at(-1)!
  while (last.received.length === 0) await turn()
  t.deepEqual(last.received, ['two'])
  await app.close({ timeout: 0 })
})

test('a message is encoded once for each codec of a room', async (t) => {
  const encoded: string[] = []
  const codec = (name: string) => {
    const encode = (message: unknown): string => {
      encoded.push(name)
      return `${name} ${String(message)}\n`
    }
    return messages<unknown>({
      name,
      encoder: () => encode,
      decoder: () => new LineDecoder<unknown>(name, 1_000, (line) => line),
    })
  }
  const chat = rooms()
  const apps = [codec('a'), codec('b'), codec('c')].map((one) => members(chat, one))
  const clients = Array.from({ length: 30 }, (_, index) => new Client(apps[index % 3]!).read())
  while (chat.members('red').size < clients.length) await turn()
  t.deepEqual(await chat.send('red', 'hello'), { members: 30 })
  t.deepEqual(encoded, ['a', 'b', 'c'])
  while (clients.some(({ received }) => received.length === 0)) await turn()
  t.deepEqual(
    clients.slice(0, 3).map(({ received }) => received),
    [['a hello'], ['b hello'], ['c hello']],
  )
  for (const app of apps) await app.close({ timeout: 0 })
})

test('a codec that cannot encode a message fails the send, and other members get it', async (t) => {
  const chat = rooms()
  const [packs, texts] = [members(chat, msgpack()), members(chat, json())] as const
  const packed = new Client(packs)
  const some = once(packed.stream, 'data')
  while (chat.members('red').size < 1) await turn()
  const text = new Client(texts).read()
  while (chat.members('red').size < 2) await turn()
  await t.throwsAsync(chat.send('red', 2n ** 40n), { code: 'ERR_CIO_ENCODE' })
  t.true((await some)[0].length > 0)
  t.deepEqual(await chat.send('red', 'both'), { members: 2 })
  while (text.received.length === 0) await turn()
  t.deepEqual(text.received, ['"both"'])
  for (const app of [packs, texts]) await app.close({ timeout: 0 })
})

test('a send that nothing awaits does not end the process, and its fault is reported', async (t) => {
  const chat = rooms()
  const app = members(chat, json())
  const reported = once(app, 'error')
  const client = new Client(app).read()
  while (chat.members('red').size < 1) await turn()
  void chat.send('red', 2n)
  const [error] = (await reported) as [CioError]
  t.is(error.code, 'ERR_CIO_ENCODE')
  await chat.send('red', 1)
  while (client.received.length === 0) await turn()
  t.deepEqual(client.received, ['1'])
  await app.close({ timeout: 0 })
})

test('a sender that does not wait for a large room is refused above maxBacklog', async (t) => {
  const chat = rooms<string>({ maxBacklog: 10_000 })
  const app = members(chat, lines())
  const clients = Array.from({ length: 600 }, () => new Client(app).read())
  while (chat.members('red').size < clients.length) await turn()
  const sends = Array.from({ length: 20 }, () => chat.send('red', 'x'.repeat(999)))
  const results = await Promise.allSettled(sends)
  const codes = results.map((result) =>
    result.status === 'rejected' ? (result.reason as CioError).code : 'sent',
  )
  t.deepEqual(codes, [
    ...Array.from({ length: 11 }, () => 'sent'),
    ...Array.from({ length: 9 }, () => 'ERR_CIO_QUEUE_SIZE'),
  ])
  await app.close({ timeout: 0 })
})

test('a member whose codec has a smaller maxQueueSize is closed at that bound', async (t) => {
  const chat = rooms<string>()
  const app = members(chat, lines({ maxQueueSize: 20_000 }))
  app.on('error', (error) => t.fail(error.message))
  const slow = once(app, 'slowMember')
  const frozen = new Client(app)
  while (chat.members('red').size < 1) await turn()
  for (let sent = 0; sent < 60; sent++) await chat.send('red', 'x'.repeat(1_000))
  t.is(((await slow)[0] as CioError).code, 'ERR_CIO_SLOW_MEMBER')
  t.true(frozen.stream.readableLength < 60_000)
  await app.close({ timeout: 0 })
})

test('a connection that is closed by a slow send ends as one that does not read', async (t) => {
  const chat = rooms<string>({ maxBacklog: 100_000 })
  const app = members(chat, lines())
  const server = await serve(t, app)
  const closed = once(app, 'close') as Promise<[unknown, { reason: string; by: string }]>
  const socket = await dial(t, server)
  socket.pause()
  while (chat.members('red').size < 1) await turn()
  while (chat.members('red').size > 0) await chat.send('red', 'x'.repeat(50_000)).then(turn)
  const [, end] = await closed
  t.is(end.reason, 'not_reading')
  t.is(end.by, 'local')
})

test('options and names are checked', async (t: ExecutionContext) => {
  t.throws(() => rooms({ maxBacklog: -1 }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => rooms({ maxRooms: 1.5 }), { code: 'ERR_CIO_OPTION' })
  t.throws(() => rooms({ maxRoom: 1 } as object), { code: 'ERR_CIO_OPTION', message: /maxRooms/ })
  const app = new Cio()
    .useConnection(json<{ text: string }>())
    .useConnection(rooms<{ text: string }>())
    .useConnection(async (ctx) => {
      const typed: MessagesContext<unknown, { text: string }> = ctx
      t.truthy(typed)
      await t.throwsAsync(ctx.rooms.join(1 as unknown as string), { code: 'ERR_CIO_OPTION' })
      t.deepEqual([...ctx.rooms.all], [])
      await ctx.rooms.join('red')
      t.deepEqual([...ctx.rooms.all], ['red'])
    })
  const [near, far] = duplexPair()
  far.resume().end()
  await app.handle(near).closed
})
