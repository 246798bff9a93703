import test from 'ava'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { Cio, lines } from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'

test('what is sent in one turn is written together', async (t) => {
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
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }) => {
    for (let sent = 0; sent < 10; sent++) await messages.send('one')
    await messages.sendMany(['two', 'three'])
    await new Promise((resolve) => setImmediate(resolve))
    await messages.send('four')
  })
  const ctx = app.handle(stream)
  await ctx.closed
  t.deepEqual(writes, [12, 1])
})

test('what was sent before the handler threw reaches the peer', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async ({ messages }) => {
    await messages.send('sorry')
    throw new Error('mine')
  })
  const told = once(app, 'error')
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
