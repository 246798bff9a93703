import test from 'ava'
import { once } from 'node:events'
import { type ConnectionContext, Cio } from '../../src/index.ts'
import { bytesOf } from '../../src/kit.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { dial, serve } from '../support/serve.ts'

test('the bytes of a connection are counted while it is open, and stay after its end', async (t) => {
  const app = new Cio().useConnection(async ({ stream }) => {
    await once(stream, 'readable')
    stream.end('bye')
  })
  const closed = once(app, 'close')
  const server = await serve(t, app)
  const client = await dial(t, server)
  const counts = { rx: 5, tx: 3, wireRx: 5, wireTx: 3 }
  client.end('hello').resume()
  const [ctx] = (await closed) as [ConnectionContext]
  t.deepEqual(bytesOf(ctx), counts)
})

test('bytes that wait in a stream were not sent, and its end does not change that', async (t) => {
  const app = new Cio().useConnection(async ({ signal }) => {
    await once(signal, 'abort')
  })
  const connected = once(app, 'connection')
  const server = await serve(t, app)
  await dial(t, server)
  const [ctx] = (await connected) as [ConnectionContext]
  ctx.socket!.cork()
  ctx.socket!.write('é'.repeat(1_000))
  t.is(bytesOf(ctx).tx, 0)
  ctx.destroy()
  await ctx.closed
  t.is(bytesOf(ctx).tx, 0)
})

test('a stream has no bytes of its own, with the socket of another connection or without one', async (t) => {
  const app = new Cio()
  const connected = once(app, 'connection')
  const client = await dial(t, await serve(t, app))
  client.write('hello')
  const [{ socket }] = (await connected) as [ConnectionContext]
  await once(socket!, 'readable')
  for (const lent of [{ socket: socket! }, {}]) {
    const ctx = app.handle(duplexPair()[0], lent)
    t.deepEqual(bytesOf(ctx), { rx: 0, tx: 0, wireRx: 0, wireTx: 0 })
    await ctx.close({ timeout: 0 })
  }
})
