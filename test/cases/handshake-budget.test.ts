/**
 * Hundreds of clients that come back at once, as after a restart, and hundreds that begin a handshake
 * and fall silent. If this fails, the handshakes, a millisecond or two of the only event loop each,
 * are all made in a row, and every connection that lives stands still for as long; or the budget that
 * should prevent it lets a few silent peers keep all others out. So what is counted is how often a
 * living connection is answered meanwhile, not how long anything takes.
 */

import test from 'ava'
import { once } from 'node:events'
import { Cio, limit } from '../../src/index.ts'
import { identity } from '../support/certificates.ts'
import { dial, serve } from '../support/serve.ts'
import { dialOver } from '../support/transports.ts'

const clients = 300
const silent = 300
const budget = 10

test('a living connection is answered between the handshakes of hundreds of clients', async (t) => {
  const bounds = limit({ handshakes: budget, handshakeWaitTimeout: 50_000 })
  const app = new Cio().useConnection(bounds).useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
  let most = 0
  let secured = 0
  app.on('secure', () => secured++)
  app.on('connection', () => (most = Math.max(most, bounds.counts.handshakes)))
  app.on('error', (error) => t.fail(String(error)))
  app.on('remoteError', () => {})
  const server = await serve(t, app, { ...identity('server'), handshakeTimeout: 50_000 })

  for (let index = 0; index < silent; index++) {
    const peer = await dial(t, server)
    peer.write(['', '\x16', '\x16\x03\x01'][index % 3]!)
  }
  const living = await dialOver(t, 'TLS 1.3', server)
  let answers = 0
  const chatting = new AbortController()
  const chat = (async () => {
    while (!chatting.signal.aborted) {
      living.write('.')
      await once(living, 'data')
      answers++
    }
  })()
  await once(living, 'data')
  const before = secured
  const answered = answers

  const all = await Promise.all(
    Array.from({ length: clients }, async () => {
      const client = await dialOver(t, 'TLS 1.3', server)
      client.write('hello')
      await once(client, 'data')
      return client
    }),
  )
  chatting.abort()
  await chat
  t.is(secured - before, clients)
  t.true(most <= budget, String(most))
  // Between the budgets' worth of handshakes, at the least.
  t.true(answers - answered >= clients / budget, String(answers - answered))
  t.deepEqual(bounds.counts.refused.handshakes, 0)

  for (const client of [...all, living]) client.destroy()
  await server.close({ timeout: 0 })
  const { refused: _, ...left } = bounds.counts
  t.deepEqual(left, {
    connections: 0,
    addresses: 0,
    handshakes: 0,
    waiting: 0,
    handshakesWaiting: 0,
    queued: 0,
  })
})
