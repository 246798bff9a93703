import test from 'ava'
import { once } from 'node:events'
import { Duplex, Readable } from 'node:stream'
import { Cio, CioError, lines } from '../../src/index.ts'
import { messages } from '../../src/kit.ts'
import type { PartialMessage } from '../../src/messages/partial-message.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { deferred, open, transports } from '../support/transports.ts'

test('what is sent in one turn is written together', async (t) => {
  const writes: string[] = []
  const stream = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, callback) {
      writes.push(String(chunk))
      callback()
    },
    final(callback) {
      this.push(null)
      callback()
    },
  })
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }) => {
    for (let sent = 0; sent < 10; sent++) await messages.send('one')
    await messages.sendMany(['two', 'three'])
    await new Promise((resolve) => setImmediate(resolve))
    await messages.send('four')
  })
  const ctx = app.handle(stream)
  await ctx.closed
  t.deepEqual(writes, ['one\n'.repeat(10) + 'two\nthree\n', 'four\n'])
})

test('bytes that are sent in one turn are written together, in order with strings', async (t) => {
  const writes: string[][] = []
  const stream = new Duplex({
    read() {},
    writev(chunks, callback) {
      writes.push(chunks.map(({ chunk }) => String(chunk)))
      callback()
    },
    final(callback) {
      this.push(null)
      callback()
    },
  })
  const mixed = messages<never, string | Buffer>({
    name: 'mixed',
    encoder: () => (message) => message,
    decoder: () => ({ remainder: { length: 0 } as PartialMessage, decode() {}, end() {} }),
  })
  const app = new Cio().useConnection(mixed).useConnection(async ({ messages }) => {
    for (const one of ['a', 'b', Buffer.from('c'), 'd', 'e', Buffer.from('f'), 'g']) {
      await messages.send(one)
    }
  })
  await app.handle(stream).closed
  t.deepEqual(writes, [['ab', 'c', 'de', 'f', 'g']])
})

for (const [how, use] of [
  ['written to the stream', (stream: Duplex) => void stream.write('x')],
  ['ended', (stream: Duplex) => void stream.end()],
  ['ended with a last word', (stream: Duplex) => void stream.end('x')],
  ['piped into', (stream: Duplex) => void Readable.from(['x']).pipe(stream)],
] as const) {
  for (const transport of transports) {
    test(`what was sent before the stream is ${how} in the same turn comes first, over ${transport}`, async (t) => {
      const app = new Cio().useConnection(lines()).useConnection(async (ctx, next) => {
        void ctx.messages.send('one')
        await ctx.messages.send('two')
        use(ctx.stream)
        await next()
      })
      app.on('error', (error) => t.fail(error.message))
      const client = await open(t, app, transport)
      const text = how === 'ended' ? 'one\ntwo\n' : 'one\ntwo\nx'
      let received = ''
      await new Promise<void>((resolve) => {
        client.on('data', (chunk: Buffer) => {
          received += String(chunk)
          if (received.length >= text.length) resolve()
        })
      })
      t.is(received, text)
      client.end()
    })
  }
}

test('what was sent and not written yet counts towards maxQueueSize', async (t) => {
  const stream = new Duplex({ read() {}, write() {}, highWaterMark: 1024 * 1024 })
  const over = deferred()
  const app = new Cio().useConnection(lines({ maxQueueSize: 1_000 })).useConnection(async (ctx) => {
    for (let sent = 0; sent < 11; sent++) await ctx.messages.send('x'.repeat(99))
    await t.throwsAsync(ctx.messages.send('x'), { code: 'ERR_CIO_QUEUE_SIZE' })
    over.resolve()
  })
  const ctx = app.handle(stream)
  await over.promise
  ctx.destroy()
})

test('a stream that is destroyed in the turn of a send is written to no more', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    void ctx.messages.send('one')
    ctx.stream.destroy()
    await t.throwsAsync(ctx.messages.send('two'), { code: 'ERR_CIO_CLOSED' })
  })
  app.on('error', (error) => t.fail(error.message))
  const over = once(app, 'close')
  await open(t, app, 'tcp')
  await over
})

test('what was sent before the handler threw for a fault of the peer’s reaches the peer', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }) => {
    await messages.send('sorry')
    throw new CioError('ERR_TEST_SORRY', 'mine', { fault: 'remote' })
  })
  const told = once(app, 'remoteError')
  const server = await serve(t, app)
  const socket = await dial(t, server)
  t.is(await readAll(socket), 'sorry\n')
  const [error] = await told
  t.is(error.message, 'mine')
})

test('sendMany and end come in their order after what was sent', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }) => {
    void messages.send('one')
    void messages.sendMany(['two', 'three'])
    await messages.end()
    // It has ended already, with all that was sent.
    await t.notThrowsAsync(messages.end())
    await t.throwsAsync(messages.send('four'), { code: 'ERR_CIO_CLOSED' })
    await t.throwsAsync(messages.sendMany(['five']), { code: 'ERR_CIO_CLOSED' })
  })
  app.on('error', (error) => t.fail(error.message))
  const server = await serve(t, app)
  const over = once(app, 'close')
  const client = await dial(t, server)
  t.is(await readAll(client), 'one\ntwo\nthree\n')
  client.end()
  await over
})

test('sendMany waits for a slow peer, and takes messages as it can send them', async (t) => {
  let made = 0
  function* blocks(): Generator<string> {
    for (; made < 200; made++) yield 'x'.repeat(100_000)
  }
  const app = new Cio()
    .useConnection(lines())
    .useConnection(({ messages }) => messages.sendMany(blocks()))
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const socket = await dial(t, server)
  const [ctx] = await opened
  while (!ctx.stream.writableNeedDrain) await new Promise((resolve) => setImmediate(resolve))
  t.true(made < 200)
  t.is((await readAll(socket)).length, 200 * 100_001)
})

test("a send after one's own end() is an error of this program, and says what has ended it", async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }) => {
    void messages.end()
    await messages.send('too late')
  })
  app.on('remoteError', (error) => t.fail(error.message))
  const told = once(app, 'error')
  const socket = await dial(t, await serve(t, app))
  const [error] = (await told) as [CioError]
  t.is(error.code, 'ERR_CIO_CLOSED')
  t.is(error.fault, 'local')
  t.regex(
    error.message,
    /^the connection with 127\.0\.0\.1:\d+ .*`ctx\.messages\.end\(\)` was called here$/,
  )
  socket.destroy()
})

test('end rejects when the connection was lost before', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages, stream }) => {
    await new Promise((resolve) => stream.on('close', resolve))
    await t.throwsAsync(messages.end(), { code: 'ERR_CIO_CLOSED' })
  })
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const closed = once(app, 'close')
  const socket = await dial(t, server)
  await opened
  socket.resetAndDestroy()
  await closed
})
