/**
 * Peers that ask for much and read nothing, or very little. If this fails, each of them makes the
 * server hold what it will never take, and a handful of them is enough to fill its memory: Node
 * queues whatever is written, and complains of nothing. Here senders wait, so that a connection holds
 * a bounded amount; and who takes nothing at all is cut off.
 */

import test from 'ava'
import { once } from 'node:events'
import { Cio, type CioError, type ConnectionContext, lines, timeout } from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { dial, serve } from '../support/serve.ts'
import { dialOver, nextEvent } from '../support/transports.ts'

const readers = 20
const boundOfOne = 2 * 1024 * 1024
const line = 'x'.repeat(64 * 1024)

for (const kind of ['plain', 'TLS'] as const) {
  test(`peers that never read are cut off on a ${kind} server, and hold little until then`, async (t) => {
    const contexts: ConnectionContext[] = []
    const held = (): number =>
      Math.max(...contexts.map(({ stream }) => stream.writableLength + stream.readableLength))
    let most = 0
    const app = new Cio()
      .useConnection(timeout({ write: 800 }))
      .useConnection(lines())
      .useConnection(async (ctx) => {
        contexts.push(ctx)
        // The first line is a wish for all there is.
        for await (const _ of ctx.messages) {
          for (;;) {
            await ctx.messages.send(line)
            most = Math.max(most, held())
          }
        }
      })
    const codes: string[] = []
    let emptied = (): void => {}
    const all = new Promise<void>((resolve) => (emptied = resolve))
    app.on('remoteError', (error) => {
      if (codes.push((error as CioError).code) === readers) emptied()
    })
    app.on('error', (error) => t.fail(String(error)))
    const server = await serve(t, app, kind === 'TLS' ? identity('server') : {})
    for (let index = 0; index < readers; index++) {
      const peer = await (kind === 'TLS' ? dialOver(t, 'TLS 1.3', server) : dial(t, server))
      peer.on('error', () => {})
      peer.pause()
      peer.write('all\n')
    }
    await all
    t.deepEqual(new Set(codes), new Set(['ERR_CIO_WRITE_TIMEOUT']))
    t.true(most <= boundOfOne, String(most))
    await server.close({ timeout: Infinity })
    t.is(server.connections.size, 0)
  })
}

test('a peer that reads a little at a time gets all of it', async (t) => {
  const size = 8 * 1024 * 1024
  const app = new Cio().useConnection(timeout()).useConnection(async (ctx, next) => {
    ctx.stream.end(Buffer.alloc(size, 'x'))
    await next()
  })
  app.on('remoteError', (error) => t.fail(error.message))
  const server = await serve(t, app)
  const peer = await dial(t, server)
  let read = 0
  peer.on('readable', () => {
    for (
      let chunk: Buffer | null;
      (chunk = peer.read(Math.min(1_000, peer.readableLength || 1)));
    ) {
      read += chunk.length
    }
  })
  const over = nextEvent(app, 'close')
  await once(peer, 'end')
  peer.end()
  await over
  t.is(read, size)
})
