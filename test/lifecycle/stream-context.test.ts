import test from 'ava'
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import { Cio } from '../../src/index.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'
import { waiting } from '../support/waiting.ts'

test('a stream that is put on the context gets one error listener, and cannot end the process', async (t) => {
  const ctx = waiting(t)
  const layer = new PassThrough()
  const below = ctx.stream
  for (let index = 0; index < 5; index++) {
    ctx.stream = layer
    ctx.stream = below
  }
  t.is(layer.listenerCount('error'), 1)
  t.is(below.listenerCount('error'), 1)
  layer.destroy(new Error('mine'))
  await new Promise((resolve) => layer.once('close', resolve))
})

test('remote names the other side, in IPv6 too', async (t) => {
  const app = new Cio().useConnection((ctx) => {
    ctx.stream.end(ctx.remote)
  })
  for (const host of ['127.0.0.1', '::1']) {
    const server = await serve(t, app, { host })
    const closed = nextEvent(app, 'connection')
    const { connect } = await import('node:net')
    const socket = connect({ host, port: server.port })
    await closed
    const said = await readAll(socket)
    t.regex(said, host === '::1' ? /^\[::1\]:\d+$/ : /^127\.0\.0\.1:\d+$/)
  }
  t.is(waiting(t).remote, 'a stream')
})

test('the loop over a context leaves the stream open after break', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    for await (const chunk of ctx) {
      ctx.stream.write(`${String(chunk)}?`)
      break
    }
    t.false(ctx.stream.destroyed)
    for await (const chunk of ctx) ctx.stream.write(`${String(chunk)}!`)
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.write('one')
  const [first] = (await once(socket, 'data')) as [Buffer]
  t.is(first.toString(), 'one?')
  socket.end('two')
  t.is(await readAll(socket), 'two!')
})
