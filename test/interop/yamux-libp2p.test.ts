/** Yamux of libp2p, in JavaScript. */

import test from 'ava'
import { once } from 'node:events'
import {
  Cio,
  type ConnectionContext,
  type Mux,
  type MuxedContext,
  multiplex,
} from '../../src/index.ts'
import { libp2pMuxer } from '../../bench/libp2p.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'
import { opening } from '../support/yamux.ts'

/** An app whose streams come back as they are, but for those that have another handler. */
function echoing(
  handlers: Record<string, (ctx: ConnectionContext & MuxedContext) => unknown> = {},
): Cio<MuxedContext> {
  return new Cio<MuxedContext>().useConnection(async (ctx) => {
    const handler = handlers[ctx.muxed.name]
    if (handler) {
      await handler(ctx)
      return
    }
    for await (const chunk of ctx) {
      if (!ctx.stream.write(chunk)) await once(ctx.stream, 'drain')
    }
  })
}

test('a stream of @libp2p/yamux is a connection, and it takes ours', async (t) => {
  const app = echoing({ named: (ctx) => ctx.stream.end(JSON.stringify(ctx.muxed.headers)) })
  const mux = deferred<Mux>()
  const server = new Cio().useConnection(multiplex(app)).useConnection((ctx, next) => {
    mux.resolve(ctx.mux)
    return next()
  })
  const muxer = libp2pMuxer(await dial(t, await serve(t, server)), 'outbound')

  const stream = await muxer.createStream()
  stream.send(opening(0, 'named', { a: 'b' }).payload!)
  void stream.close()
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk.subarray())
  t.is(Buffer.concat(chunks).toString(), '{"a":"b"}')

  // More than a window, both ways, so that both grant more.
  const size = 1024 * 1024
  const echo = await muxer.createStream()
  let received = 0
  const all = new Promise<void>((resolve) => {
    echo.addEventListener('message', ({ data }) => {
      received += data.byteLength
      if (received === size) resolve()
    })
  })
  echo.send(opening(0, 'echo').payload!)
  for (let sent = 0; sent < size; sent += 32 * 1024) {
    if (!echo.send(Buffer.alloc(32 * 1024))) await echo.onDrain()
  }
  await all
  t.is(received, size)
  echo.abort(new Error('enough'))

  const taken = deferred<string>()
  muxer.addEventListener('stream', ({ detail }) => {
    detail.addEventListener('message', ({ data }) => {
      taken.resolve(Buffer.from(data.subarray()).subarray(2).toString())
      detail.send(Buffer.from('from libp2p'))
      void detail.close()
    })
  })
  const ours = await (await mux.promise).open('ours', { c: 'd' })
  ours.end()
  t.is(await readAll(ours), 'from libp2p')
  t.is(await taken.promise, '["ours",{"c":"d"}]')
  t.true((await (await mux.promise).ping()) > 0)
})
