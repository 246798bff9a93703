import test from 'ava'
import { once } from 'node:events'
import { Cio } from '../src/index.ts'
import { dial, readAll, serve } from './support/serve.ts'

test('a client that half-closes gets the whole answer of a handler that loops', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    let size = 0
    for await (const chunk of ctx) size += chunk.length
    ctx.stream.write(`got ${size}`)
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('hello')
  t.is(await readAll(socket), 'got 5')
})

test('listen rejects with the error of the address', async (t) => {
  const server = await serve(t, new Cio())
  await t.throwsAsync(new Cio().listen({ port: server.port, host: '127.0.0.1' }), {
    code: 'EADDRINUSE',
  })
})

test('connection and close tell of every connection', async (t) => {
  const app = new Cio()
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  const closed = once(app, 'close')
  const socket = await dial(t, server)
  const [ctx] = await opened
  t.deepEqual([...server.connections], [ctx])
  socket.end()
  t.is((await closed)[0], ctx)
})
