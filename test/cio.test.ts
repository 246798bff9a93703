import test from 'ava'
import { once } from 'node:events'
import { Cio } from '../src/index.ts'
import { duplexPair } from './support/duplex-pair.ts'
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

test('close closes all that is open, and counts what it had to destroy', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    await once(ctx.signal, 'abort')
  })
  const server = await serve(t, app)
  const other = await app.listen({ port: 0, host: '127.0.0.1' })
  const [near, far] = duplexPair()
  far.on('error', () => {})
  const handled = app.handle(near)
  const opened = once(app, 'connection')
  await dial(t, server)
  await opened
  t.deepEqual(await app.close({ timeout: 5 }), { forced: 2 })
  t.is(server.address, null)
  t.is(other.address, null)
  t.true(handled.isClosed)
  t.deepEqual(await app.close(), { forced: 0 })
})

test('an app that was closed may listen again', async (t) => {
  const app = new Cio()
  const { port } = await serve(t, app)
  await app.close()
  t.is((await serve(t, app, { port })).port, port)
})

test('handle runs the pipeline over a Duplex', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  const [near, far] = duplexPair()
  const ctx = app.handle(near)
  far.end('hello')
  t.is(await readAll(far), 'hello')
  await ctx.closed
})
