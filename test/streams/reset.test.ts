import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Socket, connect, createServer } from 'node:net'
import { type Duplex, PassThrough } from 'node:stream'
import { Cio, type ConnectionContext } from '../../src/index.ts'
import { reset } from '../../src/streams/reset.ts'
import { closeAfter } from '../support/serve.ts'
import { networks, open, transports } from '../support/transports.ts'

/** How a stream ends: by the code of its error, or `end`. */
function ending(stream: Duplex): Promise<string> {
  return new Promise((resolve) => {
    let code = 'end'
    stream.on('error', (error: NodeJS.ErrnoException) => (code = error.code ?? code))
    stream.on('close', () => resolve(code))
    // Half open, it would stay after an end.
    stream.on('end', () => stream.destroy())
    stream.resume()
  })
}

function resetting(t: ExecutionContext): { app: Cio; done: Promise<ConnectionContext> } {
  const app = new Cio()
  const done = new Promise<ConnectionContext>((resolve) => {
    app.useConnection(async (ctx) => {
      ctx.stream.write('hello')
      // In a callback of the socket, where Node 20 would end the process.
      ctx.stream.once('data', () => reset(ctx, () => resolve(ctx)))
      await once(ctx.stream, 'close')
    })
  })
  app.on('error', () => {})
  app.on('remoteError', () => {})
  closeAfter(t, app)
  return { app, done }
}

for (const transport of transports) {
  const hasReset = networks.includes(transport)
  test(`over ${transport}, it ends as ${hasReset ? 'a reset' : 'the stream can'}, and all of it is gone`, async (t) => {
    const { app, done } = resetting(t)
    const client = await open(t, app, transport)
    const over = ending(client)
    // A reset that meets the session tickets of TLS 1.3 looks like an end to Node.
    await once(client, 'data')
    client.write('x')
    const { stream, transport: raw } = await done
    t.true(stream.destroyed)
    t.true(raw?.destroyed)
    const how = await over
    if (hasReset) t.is(how, 'ECONNRESET')
  })
}

test('a stream without a socket is destroyed with the error, which may have a sign of its own (istio/ztunnel#1483)', async (t) => {
  const stream = new PassThrough()
  const error = new Error('cut off')
  const failed = once(stream, 'error')
  await new Promise<void>((resolve) => {
    reset({ stream, socket: null, transport: stream }, resolve, error)
  })
  t.deepEqual(await failed, [error])
})

test('a socket whose end waits behind unsent bytes is gone too', async (t) => {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  const [far] = await accepted
  t.teardown(() => far.destroy())
  socket.end(Buffer.alloc(64 * 1024 * 1024))
  const closed = once(socket, 'close')
  await new Promise<void>((resolve) => {
    reset({ stream: socket, socket, transport: socket }, resolve)
  })
  await closed
  t.true(socket.destroyed)
})
