import test from 'ava'
import { once } from 'node:events'
import { Cio, type CioError, json, lines } from '../../src/index.ts'
import { PartialMessage, messages } from '../../src/kit.ts'
import { receive } from '../support/receive.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { nextEvent, open, transports } from '../support/transports.ts'

test('send waits while the peer does not read, and goes on when it does', async (t) => {
  const block = 'x'.repeat(100_000)
  let sent = 0
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    for (; sent < 200; sent++) await ctx.messages.send(block)
  })
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const socket = await dial(t, server)
  const [ctx] = await opened
  // The kernel's buffers are full once a write has to wait for the peer.
  while (!ctx.stream.writableNeedDrain) await new Promise((resolve) => setImmediate(resolve))
  const stuck = sent
  t.true(stuck < 200)
  t.true(ctx.stream.writableLength < 2 * block.length)
  t.is((await readAll(socket)).length, 200 * (block.length + 3))
  t.is(sent, 200)
})

test('a sender that does not wait is refused above maxQueueSize', async (t) => {
  const codes: string[] = []
  const app = new Cio()
    .useConnection(json({ maxQueueSize: 1_000_000 }))
    .useConnection(async (ctx) => {
      for (let sent = 0; sent < 100; sent++) {
        ctx.messages.send('x'.repeat(100_000)).catch((error: CioError) => codes.push(error.code))
      }
      await Promise.resolve()
      ctx.destroy()
    })
  const server = await serve(t, app)
  const closed = once(app, 'close')
  const socket = await dial(t, server)
  socket.pause()
  await closed
  t.is(codes[0], 'ERR_CIO_QUEUE_SIZE')
})

test('a send that nobody waits for does not end the process when the peer is gone', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    await once(ctx.stream, 'close')
    void ctx.messages.send('into the void')
    await t.throwsAsync(ctx.messages.send('again'), { code: 'ERR_CIO_CLOSED' })
  })
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const closed = once(app, 'close')
  const socket = await dial(t, server)
  await opened
  socket.resetAndDestroy()
  await closed
  t.pass()
})

test('the loop ends between messages when the server drains, and finishes one under way', async (t) => {
  const received: unknown[] = []
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    for await (const message of ctx.messages) {
      received.push(message)
      await ctx.messages.send(message)
    }
    await ctx.messages.send('goodbye')
  })
  const server = await serve(t, app)
  const idle = await dial(t, server)
  const busy = await dial(t, server)
  idle.write('1\n')
  busy.write('2\n"be')
  await once(idle, 'data')
  await once(busy, 'data')
  const closing = server.close({ timeout: Infinity })
  t.is(await readAll(idle), '"goodbye"\n')
  idle.end()
  busy.write('gun"\n')
  t.is(await readAll(busy), '"begun"\n"goodbye"\n')
  busy.end()
  t.deepEqual(await closing, { forced: 0 })
  t.deepEqual(received, [1, 2, 'begun'])
})

test('a loop may be left and taken up again', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    const { value: first } = await ctx.messages.next()
    for await (const second of ctx.messages) {
      await ctx.messages.send([first, second])
      break
    }
    const rest: unknown[] = []
    for await (const message of ctx.messages) rest.push(message)
    await ctx.messages.send(rest)
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1\n2\n3\n4\n')
  t.is(await readAll(socket), '[1,2]\n[3,4]\n')
})

test('several calls of next() at once are answered in order', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    const results = await Promise.all([1, 2, 3].map(() => ctx.messages.next()))
    await ctx.messages.send(results.map(({ value, done }) => (done ? 'done' : value)))
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1\n2\n')
  t.is(await readAll(socket), '[1,2,"done"]\n')
})

test('each waits for what its handler returns, and passes on what it throws', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    let running = 0
    await ctx.messages.each(async (message) => {
      t.is(++running, 1)
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
      if (message === 'bad') throw new Error('mine')
    })
  })
  const server = await serve(t, app)
  const told = once(app, 'error')
  const socket = await dial(t, server)
  socket.write('1\n2\n"bad"\n3\n')
  const [error] = await told
  t.is(error.message, 'mine')
})

test('who still holds a connection that is over is told so by its messages', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection(() => {}),
  )
  const client = await new Cio().useClient(json()).connect(server.port)
  await client.closed
  await t.throwsAsync(client.messages.send(1), { code: 'ERR_CIO_CLOSED' })
  await t.throwsAsync(client.messages.sendMany([1]), { code: 'ERR_CIO_CLOSED' })
  t.true((await client.messages.next()).done)
})

test('messages of an outer codec are there again when those of an inner one are over', async (t) => {
  const app = new Cio()
    .useConnection(lines())
    .useConnection(async (ctx, next) => {
      const outer = ctx.messages
      await next()
      t.is(ctx.messages, outer)
    })
    .useConnection(json(), { name: 'inner' })
  const closed = once(app, 'close')
  ;(await dial(t, await serve(t, app))).end()
  await closed
})

test('the stream has no listener of a codec left when its middleware returns', async (t) => {
  const app = new Cio()
    .useConnection(async function outside(ctx, next) {
      const before = ctx.stream.eventNames().map((event) => ctx.stream.listenerCount(event))
      await next()
      t.deepEqual(
        ctx.stream.eventNames().map((event) => ctx.stream.listenerCount(event)),
        before,
      )
    })
    .useConnection(json())
    .useConnection(async (ctx) => {
      await ctx.messages.next()
      await ctx.messages.send('done')
    })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.write('1\n')
  t.is(await readAll(socket), '"done"\n')
})

for (const transport of transports) {
  test(`who reads beside next() is done at the end of input, and so is the connection: ${transport}`, async (t) => {
    const app = new Cio().useConnection(lines()).useConnection(async ({ messages }, next) => {
      await Promise.all([messages.each((line) => messages.send(line)), next()])
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.end('one\ntwo\n')
    t.is(await readAll(client), 'one\ntwo\n')
    await closed
  })
}

test('a decoder is made for its connection, and closed with the pipeline', async (t) => {
  const closed: number[] = []
  const codec = messages<string, string>({
    name: 'text',
    encoder: () => (text) => text,
    decoder: ({ id }) => ({
      remainder: new PartialMessage(),
      decode: (chunk, into) => void into.push(`${id} ${chunk.toString()}`),
      end: () => {},
      close: () => void closed.push(id),
    }),
  })
  const { messages: received } = await receive(t, codec, 'hello')
  const [id, text] = received[0]!.split(' ')
  t.is(text, 'hello')
  t.deepEqual([...new Set(closed)], [Number(id)])
})
