import test from 'ava'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { Watch, tickDuration } from '../../src/deadline.ts'
import { Liveness } from '../../middleware/heartbeat/liveness.ts'
import {
  Cio,
  type CioError,
  type HeartbeatContext,
  type StreamContext,
  heartbeat,
  json,
  multiplex,
  reconnect,
} from '../../src/index.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { Program } from '../support/program.ts'
import { dial, serve } from '../support/serve.ts'

interface Message {
  readonly kind: string
}

const ping: Message = { kind: 'ping' }
const isPong = ({ kind }: Message): boolean => kind === 'pong'
const pong = ({ kind }: Message): Message | undefined =>
  kind === 'ping' ? { kind: 'pong' } : undefined
const ticks = (count: number): number => count * tickDuration
const quiet = { received: 0, sent: 0, isPaused: false }

test('nothing received for interval and timeout is dead, and not one tick earlier', (t) => {
  const liveness = new Liveness({ interval: ticks(4), timeout: ticks(3) }, 10, quiet)
  for (let tick = 11; tick <= 17; tick++) t.not(liveness.look(tick, quiet), 'dead', `${tick}`)
  t.is(liveness.look(18, quiet), 'dead')
})

test('a ping follows silence of one direction, once each interval', (t) => {
  const liveness = new Liveness({ interval: ticks(4), timeout: Infinity }, 0, quiet)
  const pings = (from: number, to: number, passed: typeof quiet): number[] => {
    const at: number[] = []
    for (let tick = from; tick <= to; tick++)
      if (liveness.look(tick, passed) === 'ping') at.push(tick)
    return at
  }
  t.deepEqual(pings(1, 12, quiet), [4, 8, 12])
  // What is received in each tick does not make up for what is not sent, nor the reverse.
  for (let tick = 13; tick <= 15; tick++) liveness.look(tick, { ...quiet, received: tick })
  t.is(liveness.look(16, { ...quiet, received: 16 }), 'ping')
  const both = (tick: number) => ({ received: tick, sent: tick, isPaused: false })
  for (let tick = 17; tick <= 40; tick++) t.is(liveness.look(tick, both(tick)), undefined)
})

test('without an interval it only listens, and timeout alone counts', (t) => {
  const liveness = new Liveness({ interval: Infinity, timeout: ticks(3) }, 0, quiet)
  for (let tick = 1; tick <= 3; tick++) t.is(liveness.look(tick, quiet), undefined)
  t.is(liveness.look(4, quiet), 'dead')
})

test('no connection is dead while its input waits to be read, and its time begins anew after', (t) => {
  const liveness = new Liveness({ interval: ticks(2), timeout: ticks(2) }, 0, quiet)
  for (let tick = 1; tick <= 50; tick++) {
    t.not(liveness.look(tick, { ...quiet, isPaused: true }), 'dead')
  }
  for (let tick = 51; tick <= 54; tick++) t.not(liveness.look(tick, quiet), 'dead')
  t.is(liveness.look(55, quiet), 'dead')
})

test('after a stop of this side each connection is pinged and has timeout for its answer', (t) => {
  const liveness = new Liveness({ interval: ticks(8), timeout: ticks(3) }, 0, quiet)
  liveness.look(11, quiet)
  // One more tick, and it would be dead.
  liveness.stalled(12)
  t.is(liveness.look(13, quiet), 'ping')
  for (let tick = 14; tick <= 15; tick++) t.is(liveness.look(tick, quiet), undefined)
  t.is(liveness.look(16, quiet), 'dead')
})

test('pings are answered and pongs are kept, and the round trip is measured', async (t) => {
  const seen: Message[] = []
  const app = new Cio()
    .useConnection(json<Message>())
    .useConnection(heartbeat<Message>({ interval: 250, ping, isPong, pong }))
    .useConnection(async ({ messages }) => {
      for await (const message of messages) seen.push(message)
    })
    .useClient(json<Message>())
    .useClient(heartbeat<Message>({ interval: Infinity, timeout: Infinity, isPong, pong }))
  const opened = once(app, 'connection') as Promise<[StreamContext & HeartbeatContext]>
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const reading = client.messages.each((message) => t.fail(JSON.stringify(message)))
  const [ctx] = await opened
  while (ctx.heartbeat?.roundTrip === undefined) {
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.true(ctx.heartbeat.roundTrip >= 0)
  await client.messages.send({ kind: 'ping' })
  await client.messages.send({ kind: 'other' })
  await client.messages.end()
  await reading
  await client.closed
  t.deepEqual(seen, [{ kind: 'other' }])
})

test('a side that is mute is closed with ERR_CIO_HEARTBEAT, and a client reconnects', async (t) => {
  const app = new Cio()
    .useConnection(async (ctx) => {
      ctx.stream.resume()
      await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
    })
    .useClient(reconnect({ delay: 10 }))
    .useClient(json<Message>())
    .useClient(heartbeat<Message>({ interval: 250, timeout: 250, ping, isPong }))
  const disconnected = once(app, 'disconnect')
  const again = once(app, 'reconnect')
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  void client.messages.each(() => {})
  const [error] = (await disconnected) as [CioError]
  t.is(error.code, 'ERR_CIO_HEARTBEAT')
  t.is(error.fault, 'remote')
  await again
  await client.close({ timeout: 0 })
})

test('on a muxed stream the pings of the connection are those of the heartbeat, one for all that ask at once', async (t) => {
  const times = { interval: 250, timeout: 250 }
  const ends: unknown[] = []
  const inner = new Cio().useConnection(json<Message>()).useConnection(heartbeat<Message>(times))
  inner.useConnection(({ messages }) => messages.each(() => {}))
  inner.on('remoteError', (error) => ends.push((error as CioError).code))
  const quietApp = new Cio()
    .useConnection(json())
    .useConnection(({ messages }) => messages.each(() => {}))
  const app = new Cio().useConnection(multiplex(quietApp)).useClient(multiplex(quietApp))
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const streams = await Promise.all(['a', 'b', 'c'].map((name) => client.mux.handle(inner, name)))
  const [first, second] = streams.map((stream) => stream.ping!())
  t.is(first, second)
  await first
  const done = Date.now() + 3 * (times.interval + times.timeout)
  while (Date.now() < done) await new Promise((resolve) => setTimeout(resolve, 50))
  t.deepEqual(ends, [])
  for (const { heartbeat: own } of streams) t.true(own.roundTrip! >= 0)
  const [connection] = server.connections
  connection!.socket!.pause()
  await Promise.all(streams.map(({ closed }) => closed))
  t.deepEqual(ends, Array(3).fill('ERR_CIO_HEARTBEAT'))
  await client.close({ timeout: 0 })
})

test('a ping that cannot be made ends its connection, as a local fault', async (t) => {
  const app = new Cio().useConnection(json<Message>()).useConnection(
    heartbeat<Message>({
      interval: 250,
      ping() {
        throw new Error('no ping')
      },
    }),
  )
  const failed = once(app, 'error')
  const server = await serve(t, app)
  await dial(t, server)
  t.is(((await failed)[0] as Error).message, 'no ping')
})

test('set() changes the times of one connection', async (t) => {
  const app = new Cio()
    .useConnection(json<Message>())
    .useConnection(heartbeat<Message>())
    .useConnection(async ({ messages, heartbeat: own }) => {
      t.throws(() => own.set({ interval: 0 }), { code: 'ERR_CIO_OPTION' })
      own.set({ interval: Infinity, timeout: 250 })
      for await (const _ of messages);
    })
  const failed = once(app, 'remoteError')
  const server = await serve(t, app)
  await dial(t, server)
  t.is(((await failed)[0] as CioError).code, 'ERR_CIO_HEARTBEAT')
})

test.serial('ten thousand idle connections have one timer', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(heartbeat())
  for (let count = 0; count < 10_000; count++) app.handle(duplexPair()[0])
  await new Promise((resolve) => setImmediate(resolve))
  let set = 0
  // The timer of the heartbeats lets the process end.
  const alive = setInterval(() => {}, 1_000)
  const { setTimeout: original } = globalThis
  const began = performance.now()
  await new Promise<void>((resolve) => {
    globalThis.setTimeout = ((...given: Parameters<typeof original>) => {
      set += 1
      if (set === 4) resolve()
      return original(...given)
    }) as typeof original
  })
  globalThis.setTimeout = original
  clearInterval(alive)
  // With a timer each, four would be set in no time.
  t.true(performance.now() - began >= 3 * tickDuration - 50)
  await app.close({ timeout: 0 })
})

test.serial('the last heartbeat takes the timer with it', async (t) => {
  const watch = new Watch(
    () => t.fail(),
    () => {},
  )
  watch.in(1)
  watch.stop()
  watch.in(1)
  const alive = setInterval(() => {}, 1_000)
  await new Promise<void>((resolve) => {
    const other = new Watch(
      () => {
        other.stop()
        resolve()
      },
      () => {},
    )
    other.in(2)
    other.in(1)
  })
  clearInterval(alive)
  t.pass()
})

const times = { interval: 1_000, timeout: 1_000 }

test.serial(
  'a server that is stopped is found dead, and on waking drops only the mute',
  async (t) => {
    const server = new Program(t, 'heartbeat-server.ts', times)
    const { port } = (await server.until('ready')) as unknown as { port: number }

    // It hears the server, and notices when it does not.
    const app = new Cio()
      .useClient(json<Message>())
      .useClient(heartbeat<Message>({ ...times, pong }))
    const found = once(app, 'disconnect') as Promise<[CioError]>
    const client = await app.connect(port)
    void client.messages.each(() => {})

    // These answer, and have all the patience of the world; the last does not answer.
    let closed = 0
    const answering = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const socket = connect({ port, host: '127.0.0.1' })
        t.teardown(() => socket.destroy())
        await once(socket, 'connect')
        const state = { pings: 0 }
        createInterface({ input: socket }).on('line', () => {
          state.pings += 1
          socket.write('{"kind":"pong"}\n')
        })
        socket.on('close', () => (closed += 1))
        return state
      }),
    )
    while (answering.some(({ pings }) => pings === 0)) await later()
    server.kill('SIGSTOP')
    const [error] = await found
    t.is(error.code, 'ERR_CIO_HEARTBEAT')
    const mute = connect({ port, host: '127.0.0.1' })
    t.teardown(() => mute.destroy())
    const muteClosed = once(mute.resume(), 'close')
    // Longer than interval and timeout, which the clients' answers could not reach.
    const until = performance.now() + times.interval + times.timeout + 1_500
    while (performance.now() < until) await later()

    for (const one of answering) one.pings = 0
    server.kill('SIGCONT')
    // The third ping is further from waking than any deadline that was set before it.
    while (answering.some(({ pings }) => pings < 3)) {
      t.is(closed, 0)
      await later()
    }
    await muteClosed
    t.is(closed, 0)
    t.true(server.lines.some(({ event, code }) => event === 'dead' && code === 'ERR_CIO_HEARTBEAT'))
  },
)

const later = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20))

test('options are checked', (t) => {
  const wrong = [{ interval: 0 }, { timeout: -1 }, { isPong: 1 }, { pong: 'x' }, { intervall: 1 }]
  for (const options of wrong) {
    t.throws(() => heartbeat(options as object), { code: 'ERR_CIO_OPTION' })
  }
})
