/** What cio 0.5 spoke: json-duplex-stream and duplex-emitter. */

import test from 'ava'
import createDuplexEmitter from 'duplex-emitter'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { Cio, events, json } from '../../src/index.ts'
import { dial, listenBare, serve } from '../support/serve.ts'
import { deferred } from '../support/transports.ts'

// It has no types.
const jsonDuplexStream = createRequire(import.meta.url)('json-duplex-stream') as () => {
  in: Duplex
  out: Duplex
}

interface Asked {
  add: [a: number, b: number]
  slow: []
  fail: [how: 'throw' | 'reject']
}

interface Told {
  sum: [sum: number]
  note: [text: string, details?: { deep: number[] }]
}

test('what json-duplex-stream writes is read, and the other way round', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    for await (const message of ctx.messages) await ctx.messages.send({ echo: message })
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const peer = jsonDuplexStream()
  const heard: unknown[] = []
  socket.pipe(peer.in).on('data', (message: unknown) => heard.push(message))
  peer.out.pipe(socket)
  const ended = once(peer.in, 'end')
  for (const message of [{ one: 1 }, ['zwei ☃'], 'three']) peer.out.write(message)
  peer.out.end()
  await ended
  t.deepEqual(heard, [{ echo: { one: 1 } }, { echo: ['zwei ☃'] }, { echo: 'three' }])
})

test('a duplex-emitter client and a Cio server hear each other', async (t) => {
  const app = new Cio()
    .useConnection(json())
    .useConnection(events<Asked, Told>())
    .useConnection(async (ctx, next) => {
      await ctx.events.emit('note', 'héllo\n', { deep: [1, 2] })
      ctx.events.on('add', (a, b) => void ctx.events.emit('sum', a + b))
      await next()
    })
  const closed = once(app, 'close')
  const socket = await dial(t, await serve(t, app))
  const emitter = createDuplexEmitter(socket)
  t.deepEqual(await once(emitter.read, 'note'), ['héllo\n', { deep: [1, 2] }])
  emitter.emit('add', 20, 22)
  t.deepEqual(await once(emitter.read, 'sum'), [42])
  socket.end()
  await closed
})

test('a Cio client and a duplex-emitter server hear each other', async (t) => {
  const port = await listenBare(
    t,
    createServer((socket) => {
      const emitter = createDuplexEmitter(socket)
      emitter.on('add', (a: number, b: number) => emitter.emit('sum', a + b))
      emitter.on('bye', () => socket.end())
    }),
  )
  const app = new Cio()
    .useClient(json())
    .useClient(events<Told, { add: [number, number]; bye: [] }>())
  const client = await app.connect(port)
  const sums: number[] = []
  const two = deferred()
  client.events.on('sum', (sum) => {
    if (sums.push(sum) === 2) two.resolve()
  })
  await client.events.emit('add', 1, 2)
  await client.events.emit('add', 3, 4)
  await two.promise
  t.deepEqual(sums, [3, 7])
  await client.events.emit('bye')
  await client.closed
})
