import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { WebSocket } from 'ws'
import { websocket, wholeMessages } from '../../../middleware/websocket.ts'
import {
  Cio,
  type CioError,
  type HeartbeatContext,
  type HeartbeatOptions,
  type StreamContext,
  heartbeat,
  timeout,
} from '../../../src/index.ts'
import { duplexPair } from '../../support/duplex-pair.ts'
import { Program } from '../../support/program.ts'
import { serve } from '../../support/serve.ts'

const times = { interval: 250, timeout: 500 }

/** An app whose connections have a heartbeat, and what it emits. */
function beating(options: HeartbeatOptions<string | Buffer, string | Uint8Array> = times) {
  const opened: (StreamContext & HeartbeatContext)[] = []
  const app = new Cio()
    .useConnection(wholeMessages())
    .useConnection(heartbeat(options))
    .useConnection(async (ctx) => {
      opened.push(ctx)
      await ctx.messages.each(() => {})
    })
  const dead: CioError[] = []
  app.on('remoteError', (error) => dead.push(error as CioError))
  return { app, opened, dead }
}

async function dial(t: ExecutionContext, at: number | { socket: object }): Promise<WebSocket> {
  const client =
    typeof at === 'number'
      ? new WebSocket(`ws://127.0.0.1:${at}/`)
      : new WebSocket('ws://127.0.0.1/', { createConnection: () => at.socket as never })
  t.teardown(() => client.terminate())
  client.on('error', () => {})
  client.on('message', () => t.fail('the application sent nothing'))
  await once(client, 'open')
  return client
}

/** Waits for so many pings. */
async function pings(client: WebSocket, count: number): Promise<void> {
  const closed = once(client, 'close').then(([code]) => {
    throw new Error(`closed with ${code}`)
  })
  closed.catch(() => {})
  for (let left = count; left > 0; left--) await Promise.race([once(client, 'ping'), closed])
}

for (const carrier of ['TCP', 'a Duplex'] as const) {
  test(`a client of ws over ${carrier} is pinged by frames, and its pongs keep it`, async (t) => {
    const { app, opened, dead } = beating()
    const front = new Cio().useConnection(websocket(app))
    let client: WebSocket
    if (carrier === 'TCP') client = await dial(t, (await serve(t, front)).port)
    else {
      const [near, far] = duplexPair()
      front.handle(near)
      client = await dial(t, { socket: far })
    }
    // The fifth is later than interval and timeout.
    await pings(client, 5)
    t.is(client.readyState, client.OPEN)
    t.deepEqual(dead, [])
    const { roundTrip } = opened[0]!.heartbeat
    t.true(roundTrip! >= 0 && roundTrip! < 5_000, `${roundTrip}`)
  })
}

test('a client that answers no ping is closed', async (t) => {
  const { app, dead } = beating()
  const front = new Cio().useConnection(websocket(app))
  const client = new WebSocket(`ws://127.0.0.1:${(await serve(t, front)).port}/`, {
    autoPong: false,
  })
  t.teardown(() => client.terminate())
  const closed = once(client, 'close')
  await pings(client, 1)
  await closed
  t.deepEqual(
    dead.map(({ code }) => code),
    ['ERR_CIO_HEARTBEAT'],
  )
})

test('a message that comes slowly is a sign of life, and so are pongs for timeout()', async (t) => {
  const dead: CioError[] = []
  const app = new Cio()
    .useConnection(timeout({ idle: 1_000 }))
    .useConnection(wholeMessages())
    .useConnection(heartbeat(times))
    .useConnection(({ messages }) => messages.each(() => {}))
  app.on('remoteError', (error) => dead.push(error as CioError))
  const { port } = await serve(t, new Cio().useConnection(websocket(app)))
  const client = await dial(t, port)
  // The sixth is later than `idle`.
  await pings(client, 6)
  t.deepEqual(dead, [])

  const slow = new WebSocket(`ws://127.0.0.1:${port}/`, { autoPong: false })
  t.teardown(() => slow.terminate())
  await once(slow, 'open')
  const socket = (slow as unknown as { _socket: Socket })._socket
  // The head of a binary frame of 16 bytes, with a mask of zeros. No pong may come within it.
  socket.write(Buffer.from('829000000000', 'hex'))
  for (let sent = 0; sent < 16; sent++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    socket.write('.')
  }
  t.deepEqual(dead, [])
  t.is(slow.readyState, slow.OPEN)
})

test('messages of ones own stay messages, where they are given', async (t) => {
  const { app } = beating({ ...times, ping: 'ping', isPong: (message) => message === 'pong' })
  const front = new Cio().useConnection(websocket(app))
  const client = new WebSocket(`ws://127.0.0.1:${(await serve(t, front)).port}/`)
  t.teardown(() => client.terminate())
  client.on('ping', () => t.fail())
  const [data] = (await once(client, 'message')) as [Buffer]
  t.is(data.toString(), 'ping')
})

test('ctx.ping() fulfils with the pong, several with one, and rejects when the WebSocket closes', async (t) => {
  const { app, opened } = beating({ interval: Infinity, timeout: Infinity })
  const front = new Cio().useConnection(websocket(app))
  const { port } = await serve(t, front)
  const client = await dial(t, port)
  const [ctx] = opened
  await Promise.all([ctx!.ping!(), ctx!.ping!()])
  client.pause()
  const lost = Array.from({ length: 20 }, () => ctx!.ping!())
  client.terminate()
  for (const one of lost) await t.throwsAsync(one, { code: 'ERR_CIO_CLOSED' })
  await ctx!.closed
  await t.throwsAsync(ctx!.ping!(), { code: 'ERR_CIO_CLOSED' })
})

test.serial('a process that is stopped is closed, and another beside it is kept', async (t) => {
  const { app, dead } = beating()
  const front = new Cio().useConnection(websocket(app))
  const { port } = await serve(t, front)
  const order = { port, carrier: 'WebSocket' }
  const [frozen, awake] = [0, 1].map(() => new Program(t, 'heartbeat-clients.ts', order))
  await Promise.all([frozen!.until('ping'), awake!.until('ping')])
  const failed = once(app, 'remoteError')
  frozen!.kill('SIGSTOP')
  await failed
  await awake!.until('ping', awake!.lines.length + 2)
  frozen!.kill('SIGCONT')
  await frozen!.until('close')
  t.is(dead.length, 1)
  t.is(dead[0]!.code, 'ERR_CIO_HEARTBEAT')
  t.false(awake!.lines.some(({ event }) => event === 'close' || event === 'message'))
})
