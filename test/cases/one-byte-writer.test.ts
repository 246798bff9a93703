/**
 * A peer that writes byte by byte: with each in a packet of its own, a long line of them, and several
 * such peers at once. If this fails, a few bytes a second hold memory or a processor ("slow loris"),
 * or the pieces come out in another order. What comes is put together as it was, a line without an
 * end is cut off at the bound of its length, and one that takes for ever at the bound of its life.
 */

import test from 'ava'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { Cio, type CioError, lines, timeout } from '../../src/index.ts'
import { dial, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

/** Writes a byte at a time, each when the last is on its way. */
async function drip(peer: Socket, text: string): Promise<void> {
  peer.setNoDelay(true)
  for (const byte of text) {
    if (peer.destroyed) return
    await new Promise((resolve) => peer.write(byte, resolve))
  }
}

function echo(lifetime = Infinity): Cio {
  return new Cio()
    .useConnection(timeout({ lifetime, drainTimeout: 0 }))
    .useConnection(lines({ maxLength: 1_000 }))
    .useConnection(async (ctx) => {
      for await (const line of ctx.messages) await ctx.messages.send(line)
    })
}

test('lines that come byte by byte from several peers are what they were', async (t) => {
  const app = echo()
  app.on('remoteError', (error) => t.fail(error.message))
  const server = await serve(t, app)
  await Promise.all(
    Array.from({ length: 10 }, async (_, index) => {
      const peer = await dial(t, server)
      const text = Array.from({ length: 20 }, (_, line) => `line ${line} of ${index}\n`).join('')
      let said = ''
      peer.on('data', (chunk: Buffer) => (said += chunk.toString()))
      await drip(peer, text)
      const end = once(peer, 'end')
      peer.end()
      await end
      t.is(said, text)
    }),
  )
})

test('a line without an end is cut off at its bound, however slowly it comes', async (t) => {
  const app = echo()
  const failed = nextEvent(app, 'remoteError')
  const server = await serve(t, app)
  const peer = await dial(t, server)
  await drip(peer, 'x'.repeat(1_500))
  const [error] = await failed
  t.is((error as CioError).code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('a line that takes for ever is cut off at the end of its life', async (t) => {
  const app = echo(300)
  const failed = nextEvent(app, 'remoteError')
  const over = nextEvent(app, 'close')
  const server = await serve(t, app)
  const peer = await dial(t, server)
  const interval = setInterval(() => peer.write('x'), 25)
  t.teardown(() => clearInterval(interval))
  const [error] = await failed
  t.is((error as CioError).code, 'ERR_CIO_LIFETIME')
  await over
  t.is(server.connections.size, 0)
})
