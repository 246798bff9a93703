import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import {
  Cio,
  type CioError,
  type ClientContext,
  type ConnectionContext,
  type EventsContext,
  type Mux,
  type Muxed,
  type MuxedContext,
  type MultiplexContext,
  type MultiplexOptions,
  type RpcContext,
  events,
  isCioError,
  json,
  multiplex,
  rpc,
  layer,
} from '../../src/index.ts'
import { path, identity } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { dial, listenBare, readAll, serve } from '../support/serve.ts'
import {
  type Transport,
  deferred,
  nextEvent,
  optionsOf,
  transports,
} from '../support/transports.ts'
import { ReceiveBuffer } from '../../middleware/multiplex/receive-buffer.ts'
import { OpeningReader, writeOpening } from '../../middleware/multiplex/stream-header.ts'
import { growth, held } from '../support/cost.ts'
import { type Frame, Peer, frame, opening } from '../support/yamux.ts'

/** An app whose streams echo, except those with another handler. */
function echoing(
  handlers: Record<string, (ctx: ConnectionContext & MuxedContext) => unknown> = {},
): Cio<MuxedContext> {
  return new Cio<MuxedContext>().useConnection(async (ctx) => {
    const handler = handlers[ctx.muxed.name]
    if (handler) await handler(ctx)
    else await echo(ctx)
  })
}

async function echo(ctx: ConnectionContext): Promise<void> {
  for await (const chunk of ctx) {
    if (!ctx.stream.write(chunk)) await once(ctx.stream, 'drain')
  }
}

interface Ends {
  /** The connecting side, and its context. */
  readonly client: ClientContext | ConnectionContext
  readonly near: Mux
  /** The accepting side. */
  readonly server: ConnectionContext
  readonly far: Mux
  /** Closes the listeners. */
  readonly close: () => Promise<unknown>
}

/** Both sides of a multiplexed connection. */
async function ends(
  t: ExecutionContext,
  transport: Transport,
  {
    app = echoing(),
    clientApp = echoing(),
    options = {},
    clientOptions = options,
  }: {
    readonly app?: Pick<Cio, 'handle'>
    readonly clientApp?: Pick<Cio, 'handle'>
    readonly options?: MultiplexOptions
    readonly clientOptions?: MultiplexOptions
  } = {},
): Promise<Ends> {
  const accepted = deferred<ConnectionContext & MultiplexContext>()
  const server = new Cio().useConnection(multiplex(app, options)).useConnection((ctx, next) => {
    accepted.resolve(ctx)
    return next()
  })
  t.teardown(() => server.close({ timeout: 0 }))

  let client: (ClientContext | ConnectionContext) & MultiplexContext
  if (transport === 'memory') {
    const [one, other] = duplexPair()
    const clients = new Cio().useConnection(
      multiplex(clientApp, { ...clientOptions, initiator: true }),
    )
    t.teardown(() => clients.close({ timeout: 0 }))
    client = clients.handle(one)
    server.handle(other)
  } else {
    const clients = new Cio().useClient(multiplex(clientApp, clientOptions))
    t.teardown(() => clients.close({ timeout: 0 }))
    const listening = optionsOf(t, transport)
    const { port } = await server.listen(listening)
    const place =
      listening.path === undefined ? { port, host: '127.0.0.1' } : { path: listening.path }
    const tls = transport.startsWith('TLS')
      ? {
          ca: path('root.crt'),
          servername: 'localhost',
          maxVersion: transport === 'TLS 1.2' ? ('TLSv1.2' as const) : ('TLSv1.3' as const),
        }
      : {}
    client = await clients.connect({ ...place, ...tls })
  }
  const ctx = await accepted.promise
  return {
    client,
    near: client.mux,
    server: ctx,
    far: ctx.mux,
    close: () => server.close(),
  }
}

/** The error that a stream, or another emitter, ends with. */
async function failure(stream: Duplex): Promise<string | undefined> {
  if (!stream.closed) await new Promise((resolve) => stream.once('close', resolve))
  return (stream.errored as CioError | null)?.code
}

const codeOf = async (promise: Promise<unknown>): Promise<string | undefined> => {
  try {
    await promise
    return undefined
  } catch (error) {
    return (error as CioError).code
  }
}

for (const transport of transports) {
  test(`over ${transport}, both sides open streams to the other's app`, async (t) => {
    const seen: Omit<Muxed, 'parent'>[] = []
    const told = echoing({
      told({ muxed, stream }) {
        seen.push({ name: muxed.name, headers: { ...muxed.headers } })
        stream.end('heard')
      },
    })
    const { near, far } = await ends(t, transport, { app: told, clientApp: told })
    for (const mux of [near, far]) {
      const stream = await mux.open('told', { language: 'en', '': 'é' })
      t.is(await readAll(stream), 'heard')
      const echo = await mux.open('echo')
      echo.end('back')
      t.is(await readAll(echo), 'back')
    }
    t.is(seen.length, 2)
    t.deepEqual(
      seen,
      Array.from(seen, () => ({ name: 'told', headers: { language: 'en', '': 'é' } })),
    )
  })

  test(`over ${transport}, many concurrent streams each carry their own data`, async (t) => {
    const { near, far } = await ends(t, transport)
    const size = 1024 * 1024
    const exchange = async (mux: Mux, byte: number): Promise<void> => {
      const stream = await mux.open('echo')
      const sent = Buffer.alloc(size, byte)
      stream.end(sent)
      const chunks: Buffer[] = []
      for await (const chunk of stream) chunks.push(chunk as Buffer)
      t.true(Buffer.concat(chunks).equals(sent), `stream ${byte}`)
    }
    await Promise.all([1, 2, 3, 4].flatMap((i) => [exchange(near, i), exchange(far, 10 + i)]))
    t.is(near.size + far.size, 0)
  })

  test(`over ${transport}, an unread stream does not block the others`, async (t) => {
    const stalled = deferred<Duplex>()
    const app = echoing({
      stalled: async (ctx) => {
        stalled.resolve(ctx.stream)
        await new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
      },
    })
    const { near } = await ends(t, transport, { app })
    const stuck = await near.open('stalled')
    const all = Buffer.alloc(2 * 1024 * 1024)
    stuck.write(all)
    const unread = await stalled.promise

    const echo = await near.open('echo')
    echo.end(all)
    let received = 0
    for await (const chunk of echo) received += (chunk as Buffer).length
    t.is(received, all.length)
    t.is(stuck.writableLength, all.length, 'it has not been sent')

    // It continues once it is read.
    let read = 0
    unread.on('data', (chunk: Buffer) => (read += chunk.length))
    await once(stuck, 'drain')
    while (read < all.length) await once(unread, 'data')
    t.is(read, all.length)
  })

  test(`over ${transport}, a half-closed stream still receives its answer`, async (t) => {
    const app = echoing({
      late: async (ctx) => {
        const asked = await readAll(ctx)
        await new Promise((resolve) => setImmediate(resolve))
        ctx.stream.end(`${asked}!`)
      },
    })
    const { near } = await ends(t, transport, { app })
    const stream = await near.open('late')
    stream.end('asked')
    t.is(await readAll(stream), 'asked!')
  })

  test(`over ${transport}, a reset ends only its own stream, on both sides`, async (t) => {
    const reset = deferred<string | undefined>()
    const app = echoing({
      reset: async (ctx) => {
        ctx.stream.write('here')
        reset.resolve(await failure(ctx.stream))
      },
    })
    const { near } = await ends(t, transport, { app })
    const other = await near.open('echo')
    const stream = await near.open('reset')
    await once(stream, 'data')
    stream.destroy()
    t.is(await reset.promise, 'ERR_CIO_STREAM_RESET')
    other.end('alive')
    t.is(await readAll(other), 'alive')
  })

  test(`over ${transport}, a handler that throws ends only its own stream`, async (t) => {
    const app = echoing({
      broken: () => {
        throw new Error('a mistake')
      },
    })
    const told = nextEvent(app, 'error')
    const { near } = await ends(t, transport, { app })
    const other = await near.open('echo')
    t.is(await failure(await near.open('broken')), 'ERR_CIO_STREAM_RESET')
    t.is((await told)[0].message, 'a mistake')
    other.end('alive')
    t.is(await readAll(other), 'alive')
  })

  test(`over ${transport}, a ping measures the round-trip time`, async (t) => {
    const { near, far } = await ends(t, transport)
    for (const mux of [near, far]) {
      const began = performance.now()
      const times = await Promise.all([
        mux.ping({ timeout: Infinity }),
        mux.ping({ timeout: Infinity }),
      ])
      const taken = performance.now() - began
      for (const time of times) t.true(time > 0 && time <= taken, `${time} of ${taken} ms`)
    }
  })

  test(`over ${transport}, close() lets open streams finish and accepts no new ones`, async (t) => {
    const begun = deferred()
    const draining = deferred()
    const app = echoing({
      last: async (ctx) => {
        begun.resolve()
        ctx.draining.addEventListener('abort', () => draining.resolve())
        for await (const chunk of ctx) ctx.stream.write(chunk)
      },
    })
    const { near, client, server } = await ends(t, transport, { app })
    const stream = await near.open('last')
    await begun.promise
    const closing = server.close()
    await draining.promise
    // Its GoAway was sent before.
    await near.ping()
    t.true(near.isGoingAway)
    t.is(await codeOf(near.open('echo')), 'ERR_CIO_GOING_AWAY')
    t.is(near.size, 1)
    stream.end('finished')
    t.is(await readAll(stream), 'finished')
    t.deepEqual(await closing, { forced: 0 })
    await client.closed
    t.is(await codeOf(near.open('echo')), 'ERR_CIO_CLOSED')
    t.is(await codeOf(near.ping()), 'ERR_CIO_CLOSED')
  })

  test(`over ${transport}, all streams fail when the connection is lost`, async (t) => {
    const codes = deferred<string | undefined>()
    const app = echoing({
      victim: async (ctx) => {
        ctx.stream.write('here')
        codes.resolve(await failure(ctx.stream))
      },
    })
    const { near, far, server } = await ends(t, transport, { app })
    const stream = await near.open('victim')
    await once(stream, 'data')
    const ping = codeOf(near.ping({ timeout: Infinity }))
    server.destroy()
    t.is(await codes.promise, 'ERR_CIO_CLOSED')
    t.is(await failure(stream), 'ERR_CIO_CLOSED')
    t.true([undefined, 'ERR_CIO_CLOSED'].includes(await ping))
    t.is(near.size + far.size, 0)
  })
}

/** Waits until both sides have the same state. */
async function settled({ near, far }: Pick<Ends, 'near' | 'far'>): Promise<void> {
  while (near.size + far.size > 0) await Promise.all([near.ping(), far.ping()])
}

for (const transport of transports) {
  test(`over ${transport}, a stream that both sides have ended is closed, even if unread (libp2p/go-libp2p-net#21)`, async (t) => {
    const app = echoing({
      log: async (ctx) => {
        const line = await readAll(ctx)
        ctx.stream.end(`noted ${line}`)
      },
    })
    const both = await ends(t, transport, { app, clientApp: app, options: { maxStreams: 20 } })
    const { near, far } = both
    for (const mux of [near, far]) {
      const streams: Duplex[] = []
      for (let index = 0; index < 60; index++) {
        if (index % 20 === 0) await settled(both)
        const stream = await mux.open('log')
        stream.end(`line ${index}`)
        streams.push(stream)
      }
      await settled(both)
      // Their data is still available.
      t.is(await readAll(streams[0]!), 'noted line 0')
      t.is(await readAll(streams.at(-1)!), 'noted line 59')
    }
    t.deepEqual(await both.client.close(), { forced: 0 })
  })

  for (const ended of [true, false]) {
    const which = ended ? 'that both sides have ended' : 'that the other side has ended'
    test(`over ${transport}, a connection that ends leaves a stream ${which} to its reader`, async (t) => {
      const size = 200_000
      const written = deferred()
      const download = (ctx: ConnectionContext): Promise<unknown> => {
        ctx.stream.end(Buffer.alloc(size, 'x'))
        written.resolve()
        return once(ctx.stream, 'close')
      }
      const { near, client, server } = await ends(t, transport, { app: echoing({ download }) })
      const stream = await near.open('download')
      const cut = await near.open('echo')
      cut.write('a part')
      if (ended) stream.end()
      await written.promise
      // Its answer comes after all earlier writes.
      await near.ping()
      server.destroy()
      t.is(await failure(cut), 'ERR_CIO_CLOSED', 'this one is not whole')
      await client.closed
      t.is((await readAll(stream)).length, size)
      t.is(await failure(stream), undefined)
    })
  }
}

test('a handler reads all data that arrived before the connection closed', async (t) => {
  const size = 200_000
  const release = deferred()
  const received = deferred<number>()
  const upload = async (ctx: ConnectionContext): Promise<void> => {
    await release.promise
    received.resolve((await readAll(ctx)).length)
  }
  const { near, client } = await ends(t, 'tcp', { app: echoing({ upload }) })
  const stream = await near.open('upload')
  stream.end(Buffer.alloc(size))
  await once(stream, 'finish')
  await near.ping()
  client.destroy()
  await client.closed
  release.resolve()
  t.is(await received.promise, size)
})

test('a complete but unread stream is kept no longer than `flushTimeout`', async (t) => {
  const app = echoing({
    stalled: (ctx) => new Promise((done) => ctx.signal.addEventListener('abort', done)),
  })
  const server = new Cio().useConnection(multiplex(app))
  const { port } = await serve(t, server, { flushTimeout: 50 })
  const peer = await dial(t, { port })
  const over = nextEvent(server, 'close')
  const all = [{ type: 1, flags: 1, id: 1 }, opening(1, 'stalled'), { type: 1, flags: 4, id: 1 }]
  peer.end(Buffer.concat(all.map(frame)))
  await over
  t.pass()
})

test('a write to a stream whose connection is closed fails', async (t) => {
  const written = deferred()
  const app = echoing({
    end: (ctx) => {
      ctx.stream.end('whole')
      written.resolve()
      return once(ctx.stream, 'close')
    },
  })
  const { near, server, client } = await ends(t, 'tcp', { app })
  const stream = await near.open('end')
  await written.promise
  await near.ping()
  server.destroy()
  await client.closed
  stream.write('too late')
  t.is(await failure(stream), 'ERR_CIO_CLOSED')
})

const flooding = (): Cio<MuxedContext> =>
  echoing({
    flood: async (ctx) => {
      while (!ctx.stream.destroyed) {
        if (!ctx.stream.write(Buffer.alloc(64 * 1024))) await once(ctx.stream, 'drain')
      }
    },
    answer: (ctx) => void ctx.stream.end(Buffer.alloc(1024 * 1024)),
  })

/** A peer that requests a flood on the stream with this number, ends its side, and reads nothing. */
function askAndLeave(socket: Socket, id: number): void {
  socket.pause()
  const all = [
    { type: 1, flags: 1, id },
    opening(id, 'flood'),
    { type: 1, flags: 0, id, length: 2 ** 31 },
  ]
  socket.end(Buffer.concat(all.map(frame)))
}

test('after `flushTimeout` a server closes a client that opens streams, ends and reads nothing', async (t) => {
  const app = new Cio().useConnection(multiplex(flooding()))
  const told = nextEvent(app, 'remoteError')
  const over = nextEvent(app, 'close')
  const server = await serve(t, app, { flushTimeout: 100 })
  const socket = await dial(t, server)
  askAndLeave(socket, 1)
  t.like((await told)[0], { code: 'ERR_CIO_FLUSH_TIMEOUT' })
  await over
  t.is(server.connections.size, 0)
})

test('after `flushTimeout` a client closes such a server', async (t) => {
  const bare = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    askAndLeave(socket, 2)
    t.teardown(() => socket.destroy())
  })
  const app = new Cio().useClient(multiplex(flooding()))
  t.teardown(() => app.close({ timeout: 0 }))
  const told = nextEvent(app, 'remoteError')
  const port = await listenBare(t, bare)
  const client = await app.connect({ port, host: '127.0.0.1', flushTimeout: 100 })
  await client.closed
  t.like((await told)[0], { code: 'ERR_CIO_FLUSH_TIMEOUT' })
})

test('a stream has the `flushTimeout` of its connection, on both sides and within another stream', async (t) => {
  const app = flooding()
  const server = new Cio().useConnection(multiplex(app))
  const { port } = await serve(t, server, { flushTimeout: 100 })
  const socket = await dial(t, { port })
  const peer = new Peer(socket)
  const ask = (id: number): void => {
    peer.send({ type: 1, flags: 1, id })
    peer.send(opening(id, 'answer'))
    peer.send({ type: 1, flags: 4, id })
  }
  ask(1)
  await peer.until(({ id, flags }) => id === 1 && flags === 8)
  await peer.ping()

  const bare = createServer({ allowHalfOpen: true })
  t.teardown(() => bare.close())
  const accepted = once(bare, 'connection')
  const clients = new Cio().useClient(multiplex(app))
  t.teardown(() => clients.close({ timeout: 0 }))
  const listening = await listenBare(t, bare)
  await clients.connect({ port: listening, host: '127.0.0.1', flushTimeout: 100 })
  const [accept] = (await accepted) as [Socket]
  t.teardown(() => accept.destroy())
  const other = new Peer(accept)
  other.send({ type: 1, flags: 1, id: 2 })
  other.send(opening(2, 'answer'))
  other.send({ type: 1, flags: 4, id: 2 })
  await other.until(({ id, flags }) => id === 2 && flags === 8)

  const nested = new Cio().useConnection(multiplex(new Cio().useConnection(multiplex(app))))
  const outermost = await serve(t, nested, { flushTimeout: 100 })
  const clientApp = new Cio().useClient(multiplex(new Cio()))
  t.teardown(() => clientApp.close({ timeout: 0 }))
  const { mux } = await clientApp.connect({ port: outermost.port, host: '127.0.0.1' })
  const inside = new Peer(await mux.open('inside'))
  inside.send({ type: 1, flags: 1, id: 1 })
  inside.send(opening(1, 'answer'))
  inside.send({ type: 1, flags: 4, id: 1 })
  await inside.until(({ id, flags }) => id === 1 && flags === 8)
  t.pass()
})

test('over mutual TLS, a stream has the verified peer of its connection', async (t) => {
  const app = echoing({
    who: (ctx) => ctx.stream.end(`${ctx.peer?.name} ${ctx.encrypted} ${ctx.remote}`),
  })
  const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  const server = await serve(t, new Cio().useConnection(multiplex(app)), mutual)
  const clients = new Cio().useClient(multiplex(app))
  t.teardown(() => clients.close({ timeout: 0 }))
  const client = await clients.connect({
    port: server.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: path('root.crt'),
    ...identity('alice'),
  })
  t.regex(await readAll(await client.mux.open('who')), /^alice true 127\.0\.0\.1:\d+$/)
})

test('json, events and rpc run within a stream, on both sides', async (t) => {
  const app = echoing()
  const server = new Cio<MuxedContext>()
    .useConnection(json())
    .useConnection(events())
    .useConnection(async ({ events }, next) => {
      events.on('add', (a, b) => events.emit('sum', Number(a) + Number(b)))
      await next()
    })
  const { near } = await ends(t, 'tcp', { app: server })
  const sum = deferred<unknown>()
  const client = new Cio()
    .useConnection(json())
    .useConnection(events())
    .useConnection(async (ctx: ConnectionContext & EventsContext, next) => {
      ctx.events.on('sum', (value) => sum.resolve(value))
      void ctx.events.emit('add', 1, 2)
      await next()
    })
  const ctx = await near.handle(client, 'sums')
  t.is(await sum.promise, 3)
  await ctx.close()

  const methods = { add: ([a, b]: [number, number]) => a + b }
  const callee = new Cio().useConnection(json()).useConnection(rpc({ methods }))
  const rpcEnds = await ends(t, 'tcp', { app: callee, clientApp: app })
  const answer = deferred<unknown>()
  const caller = new Cio()
    .useConnection(json())
    .useConnection(rpc<{ add(params: [number, number]): number }>())
    .useConnection(
      async (ctx: ConnectionContext & RpcContext<{ add(params: [number, number]): number }>) => {
        answer.resolve(await ctx.rpc.call('add', [3, 4]))
      },
    )
  const call = await rpcEnds.near.handle(caller, 'calls', { trace: '1' })
  t.is(await answer.promise, 7)
  await call.closed
  t.is(rpcEnds.near.size, 0)
})

test('an app run by handle() gets the name and headers of its stream', async (t) => {
  const seen = deferred<Muxed>()
  const app = new Cio<MuxedContext>().useConnection((ctx) => seen.resolve(ctx.muxed))
  const { near, client } = await ends(t, 'tcp')
  await near.handle(app, 'mine', { a: 'b' })
  const { name, headers, parent } = await seen.promise
  t.is(name, 'mine')
  t.deepEqual(headers, { a: 'b' })
  t.is(parent, client)
})

test('a multiplexed connection is a layer within another', async (t) => {
  const innermost = echoing()
  const nested = new Cio().useConnection(multiplex(innermost))
  const { near } = await ends(t, 'tcp', { app: nested })
  const mux = deferred<Mux>()
  const opener = new Cio()
    .useConnection(multiplex(innermost, { initiator: true }))
    .useConnection((ctx, next) => {
      mux.resolve(ctx.mux)
      return next()
    })
  await near.handle(opener, 'nested')
  const stream = await (await mux.promise).open('echo')
  stream.end('deep')
  t.is(await readAll(stream), 'deep')

  const { createGzip, createGunzip } = await import('node:zlib')
  const zip = layer({ encode: () => createGzip(), decode: () => createGunzip() })
  const zipped = new Cio().useConnection(zip).useConnection(multiplex(innermost))
  const server = await serve(t, zipped)
  const clients = new Cio().useClient(zip).useClient(multiplex(innermost))
  t.teardown(() => clients.close({ timeout: 0 }))
  const client = await clients.connect({ port: server.port, host: '127.0.0.1' })
  const beneath = await client.mux.open('echo')
  beneath.end('zipped')
  t.is(await readAll(beneath), 'zipped')
})

test('a larger window lets more data through before it is read', async (t) => {
  const window = 1024 * 1024
  const app = echoing({ stalled: (ctx) => once(ctx.stream, 'close') })
  const { near } = await ends(t, 'tcp', { app, options: { receiveWindow: window } })
  const stream = await near.open('stalled')
  await new Promise<void>((resolve) =>
    stream.write(Buffer.alloc(window - 64 * 1024), () => resolve()),
  )
  stream.write(Buffer.alloc(window))
  await near.ping()
  t.is(stream.writableLength, window, 'the second was not sent')
})

test('open() rejects beyond maxStreams, and succeeds after one has ended', async (t) => {
  const { near } = await ends(t, 'tcp', { options: { maxStreams: 2 } })
  const first = await near.open('echo')
  await near.open('echo')
  t.is(await codeOf(near.open('echo')), 'ERR_CIO_TOO_MANY_STREAMS')
  first.end('x')
  await readAll(first)
  await failure(first)
  const third = await near.open('echo')
  third.end('y')
  t.is(await readAll(third), 'y')
})

test('a peer that opens more than maxStreams has only the rest refused', async (t) => {
  const { near } = await ends(t, 'tcp', {
    options: { maxStreams: 2 },
    clientOptions: { maxStreams: 10 },
  })
  const streams = [await near.open('echo'), await near.open('echo'), await near.open('echo')]
  t.is(await failure(streams[2]!), 'ERR_CIO_STREAM_REFUSED')
  streams[0]!.end('alive')
  t.is(await readAll(streams[0]!), 'alive')
})

test('open() waits while maxPending streams are not accepted', async (t) => {
  const { near } = await ends(t, 'tcp', { options: { maxPending: 2 } })
  let opened = 0
  const all = Array.from({ length: 5 }, async () => {
    const stream = await near.open('echo')
    opened++
    return stream
  })
  await Promise.all(all.slice(0, 2))
  t.is(opened, 2)
  await Promise.all(all)
  t.is(near.size, 5)
})

test('both sides refuse a name and headers that are too long', async (t) => {
  const small = { maxHeadersSize: 100 }
  const { near } = await ends(t, 'tcp', { options: small, clientOptions: {} })
  t.is(await failure(await near.open('x'.repeat(200))), 'ERR_CIO_STREAM_REFUSED')
  const other = await ends(t, 'tcp', { options: {}, clientOptions: small })
  t.is(await codeOf(other.near.open('echo', { a: 'x'.repeat(200) })), 'ERR_CIO_HEADERS_SIZE')
})

test('open() takes a string and an object of strings', async (t) => {
  const { near } = await ends(t, 'memory')
  t.is(await codeOf(near.open(1 as unknown as string)), 'ERR_CIO_OPTION')
  t.is(await codeOf(near.open('x', { a: 1 } as unknown as {})), 'ERR_CIO_OPTION')
  t.is(await codeOf(near.ping({ timeout: -1 })), 'ERR_CIO_OPTION')
})

test('after its own goAway() a side opens no more streams, and open streams continue', async (t) => {
  const { near, far } = await ends(t, 'tcp')
  const stream = await near.open('echo')
  near.goAway()
  t.is(await codeOf(near.open('echo')), 'ERR_CIO_CLOSING')
  stream.end('on')
  t.is(await readAll(stream), 'on')
  await far.ping()
  t.is(await codeOf(far.open('echo')), 'ERR_CIO_GOING_AWAY')
})

test('a handler that returns ends the connection after the streams have finished', async (t) => {
  const app = echoing()
  const opened = deferred<Duplex>()
  const server = new Cio().useConnection(multiplex(app)).useConnection(async (ctx) => {
    opened.resolve(await ctx.mux.open('echo'))
  })
  const { port } = await serve(t, server)
  const clients = new Cio().useClient(multiplex(app))
  t.teardown(() => clients.close({ timeout: 0 }))
  const client = await clients.connect({ port, host: '127.0.0.1' })
  const stream = await opened.promise
  stream.end('still')
  t.is(await readAll(stream), 'still')
  await client.closed
})

test('a listener that throws ends only its own stream', async (t) => {
  const { near } = await ends(t, 'tcp')
  const stream = await near.open('echo')
  stream.on('data', () => {
    throw new Error('a mistake')
  })
  stream.write('x')
  await new Promise((resolve) => stream.once('close', resolve))
  t.is(stream.errored?.message, 'a mistake')
  const other = await near.open('echo')
  other.end('alive')
  t.is(await readAll(other), 'alive')
})

// From here on, a peer speaks the wire protocol by hand.

/** An app under attack, the attacking peer, and the outcome. */
async function attacked(
  t: ExecutionContext,
  options: MultiplexOptions = {},
  inner: Cio<MuxedContext> = echoing(),
): Promise<{ peer: Peer; socket: Socket; port: number; ended: Promise<string> }> {
  const app = new Cio().useConnection(multiplex(inner, options))
  const ended = new Promise<string>((resolve) => {
    app.on('remoteError', (error) => resolve((error as CioError).code))
    app.on('reject', (error) => resolve(error.code))
    app.on('error', (error) => resolve(`app: ${String(error)}`))
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  return { peer: new Peer(socket), socket, port: server.port, ended }
}

/** A well-behaved client of the same server is not affected. */
async function others(t: ExecutionContext, port: number): Promise<void> {
  const clients = new Cio().useClient(multiplex(new Cio()))
  t.teardown(() => clients.close({ timeout: 0 }))
  const { mux } = await clients.connect({ port, host: '127.0.0.1' })
  const stream = await mux.open('echo')
  stream.end('alive')
  t.is(await readAll(stream), 'alive')
}

const wrong: Record<string, readonly Frame[]> = {
  'another version': [{ version: 1, type: 0, flags: 1, id: 1 }],
  'a type that is unknown': [{ type: 9, flags: 0, id: 1 }],
  'data for the connection': [{ type: 0, flags: 0, id: 0, payload: Buffer.from('x') }],
  'data for a stream that was never opened': [
    { type: 0, flags: 0, id: 7, payload: Buffer.from('x') },
  ],
  'a stream with a number of the other side': [{ type: 1, flags: 1, id: 2 }],
  'a stream for the second time': [
    { type: 1, flags: 1, id: 1 },
    { type: 1, flags: 1, id: 1 },
  ],
  'more than the window': [
    { type: 1, flags: 1, id: 1 },
    opening(1, 'stalled'),
    { type: 0, flags: 0, id: 1, payload: Buffer.alloc(300 * 1024) },
  ],
  'a window that is too large': [
    { type: 1, flags: 1, id: 1 },
    { type: 1, flags: 0, id: 1, length: 2 ** 32 - 1 },
    { type: 1, flags: 0, id: 1, length: 2 ** 32 - 1 },
  ],
  'more after the end': [
    { type: 1, flags: 1, id: 1 },
    opening(1, 'stalled'),
    { type: 1, flags: 4, id: 1 },
    { type: 0, flags: 0, id: 1, payload: Buffer.from('x') },
  ],
  'an opening that is not JSON': [
    { type: 1, flags: 1, id: 1 },
    { type: 0, flags: 0, id: 1, payload: Buffer.from('\0\x03{{{') },
  ],
  'an opening that is not UTF-8': [
    { type: 1, flags: 1, id: 1 },
    { type: 0, flags: 0, id: 1, payload: Buffer.from([0, 5, 0x5b, 0x22, 0xff, 0x22, 0x5d]) },
  ],
  'an opening without a name': [
    { type: 1, flags: 1, id: 1 },
    { type: 0, flags: 0, id: 1, payload: Buffer.from('\0\x02[]') },
  ],
  'a header that is no text': [
    { type: 1, flags: 1, id: 1 },
    { type: 0, flags: 0, id: 1, payload: Buffer.from('\0\x0c["x",{"a":1}') },
  ],
  'a complaint': [{ type: 3, flags: 0, id: 0, length: 1 }],
}

const stalling = (): Cio<MuxedContext> =>
  echoing({ stalled: (ctx) => new Promise((done) => ctx.signal.addEventListener('abort', done)) })

for (const [what, frames] of Object.entries(wrong)) {
  test(`${what} ends its own connection, and no other`, async (t) => {
    const { peer, socket, port, ended } = await attacked(t, {}, stalling())
    for (const one of frames) peer.send(one)
    t.is(await ended, 'ERR_CIO_MULTIPLEX')
    if (!socket.readableEnded && !socket.closed) {
      await new Promise((resolve) => socket.once('end', resolve).once('close', resolve))
    }
    await others(t, port)
  })
}

const floods: Record<string, (peer: Peer, i: number) => void> = {
  pings: (peer, i) => peer.send({ type: 2, flags: 1, id: 0, length: i }),
  'rapid resets': (peer, i) => {
    peer.send({ type: 1, flags: 1, id: 2 * i + 1 })
    peer.send(opening(2 * i + 1, 'stalled'))
    peer.send({ type: 1, flags: 8, id: 2 * i + 1 })
  },
  'streams without an opening': (peer, i) => peer.send({ type: 1, flags: 1, id: 2 * i + 1 }),
  'streams beyond the bound': (peer, i) => {
    peer.send({ type: 1, flags: 1, id: 2 * i + 1 })
    peer.send(opening(2 * i + 1, 'stalled'))
  },
  'streams that end before they begin': (peer, i) => {
    peer.send({ type: 1, flags: 1 | 4, id: 2 * i + 1 })
  },
  'empty frames': (peer, i) => {
    if (i === 0) peer.send({ type: 1, flags: 1, id: 1 })
    peer.send({ type: 0, flags: 0, id: 1 })
  },
  'windows of nothing': (peer, i) => {
    if (i === 0) peer.send({ type: 1, flags: 1, id: 1 })
    peer.send({ type: 1, flags: 0, id: 1 })
  },
  goodbyes: (peer) => peer.send({ type: 3, flags: 0, id: 0 }),
}

for (const [what, flood] of Object.entries(floods)) {
  test(`a flood of ${what} ends its own connection, and no other`, async (t) => {
    let running = 0
    let most = 0
    const inner = echoing({
      stalled: async (ctx) => {
        most = Math.max(most, ++running)
        await new Promise((done) => ctx.signal.addEventListener('abort', done))
        running--
      },
    })
    const { peer, port, ended } = await attacked(t, { maxStreams: 50 }, inner)
    for (let i = 0; i < 5_000; i++) flood(peer, i)
    t.is(await ended, 'ERR_CIO_FLOOD')
    t.true(most <= 50, `${most} handlers at once`)
    await others(t, port)
  })
}

test('streams may arrive out of order, as from goroutines that open concurrently (hashicorp/yamux)', async (t) => {
  const { peer } = await attacked(t)
  for (const id of [5, 1, 3]) {
    peer.send({ type: 1, flags: 1, id })
    peer.send(opening(id, 'echo'))
    peer.send({ type: 0, flags: 4, id, payload: Buffer.from(`stream ${id}`) })
  }
  for (const id of [1, 3, 5]) t.is(await peer.textOf(id), `stream ${id}`)
  // Another stream may reuse the number of a closed stream.
  peer.frames.length = 0
  peer.send({ type: 1, flags: 1, id: 3 })
  peer.send(opening(3, 'echo'))
  peer.send({ type: 0, flags: 4, id: 3, payload: Buffer.from('again') })
  t.is(await peer.textOf(3), 'again')
})

test('a late reader of a stream does not end another one with the same number', async (t) => {
  const first = deferred<Duplex>()
  const inner = echoing({
    late: async (ctx) => {
      first.resolve(ctx.stream)
      ctx.stream.end()
      await once(ctx.stream, 'close')
    },
  })
  const { peer } = await attacked(t, {}, inner)
  peer.send({ type: 1, flags: 1, id: 1 })
  peer.send(opening(1, 'late'))
  peer.send({ type: 0, flags: 4, id: 1, payload: Buffer.from('unread') })
  await peer.until(({ id, flags }) => id === 1 && flags === 4)
  await peer.ping()
  peer.frames.length = 0
  peer.send({ type: 1, flags: 1, id: 1 })
  peer.send(opening(1, 'echo'))
  await peer.until(({ id, flags }) => id === 1 && flags === 2)
  ;(await first.promise).destroy()
  peer.send({ type: 0, flags: 4, id: 1, payload: Buffer.from('alive') })
  t.is(await peer.textOf(1), 'alive')
})

/** The window updates that a peer received after it, or we, had ended the stream. */
const windowsOf = (peer: Peer, id: number): number[] =>
  peer.frames
    .filter((one) => one.id === id && one.type === 1 && one.flags === 0)
    .map(({ length }) => length)

/** An app in memory, so that data arrives at once. */
function inMemory(t: ExecutionContext, inner: Cio<MuxedContext>): Peer {
  const app = new Cio().useConnection(multiplex(inner))
  t.teardown(() => app.close({ timeout: 0 }))
  const [one, other] = duplexPair()
  app.handle(other)
  return new Peer(one)
}

const sending = (id: number, bytes: number): Buffer[] => {
  const frames: Buffer[] = []
  for (let left = bytes; left > 0; left -= 50_000) {
    frames.push(frame({ type: 0, flags: 0, id, payload: Buffer.alloc(Math.min(left, 50_000)) }))
  }
  return frames
}

test('no window update is sent for a stream that the peer, or both sides, have ended (hashicorp/yamux)', async (t) => {
  const inner = echoing({
    all: async (ctx) => void (await readAll(ctx)),
    early: (ctx) => void ctx.stream.end('early'),
  })
  const peer = inMemory(t, inner)
  for (const [id, name] of [
    [1, 'all'],
    [3, 'early'],
  ] as const) {
    peer.write(
      Buffer.concat([
        frame({ type: 1, flags: 1, id }),
        frame(opening(id, name)),
        ...sending(id, 200_000),
        frame({ type: 1, flags: 4, id }),
      ]),
    )
    await peer.until((one) => one.id === id && one.flags === 4)
    await peer.ping()
    t.deepEqual(windowsOf(peer, id), [])
  }
})

test('a window update precedes our end of a stream, or follows when the peer has used the whole window', async (t) => {
  const inner = echoing({
    some: async (ctx) => {
      let length = 0
      for await (const chunk of ctx) if ((length += chunk.length) >= 200_000) break
      ctx.stream.end('enough')
    },
    early: (ctx) => void ctx.stream.end('early'),
  })
  const peer = inMemory(t, inner)
  peer.write(
    Buffer.concat([
      frame({ type: 1, flags: 1, id: 1 }),
      frame(opening(1, 'some')),
      ...sending(1, 200_000),
    ]),
  )
  await peer.until(({ id, flags }) => id === 1 && flags === 4)
  await peer.ping()
  const last = peer.frames.filter(({ id }) => id === 1).at(-1)!
  t.is(last.flags, 4, 'nothing after it')
  t.is(windowsOf(peer, 1).length, 1)

  const window = 256 * 1024
  peer.send({ type: 1, flags: 1, id: 3 })
  peer.send(opening(3, 'early'))
  await peer.until(({ id, flags }) => id === 3 && flags === 4)
  peer.write(Buffer.concat(sending(3, window - 1)))
  await peer.ping()
  t.deepEqual(windowsOf(peer, 3), [])
  peer.write(Buffer.concat(sending(3, 1)))
  await peer.until((one) => one.id === 3 && one.type === 1 && one.flags === 0)
  t.deepEqual(windowsOf(peer, 3), [window])
})

test('a reset stream counts until its handler has returned', async (t) => {
  const release = deferred()
  let running = 0
  const inner = echoing({
    slow: async () => {
      running++
      await release.promise
    },
  })
  const { peer } = await attacked(t, { maxStreams: 3 }, inner)
  for (let i = 0; i < 20; i++) {
    peer.send({ type: 1, flags: 1, id: 2 * i + 1 })
    peer.send(opening(2 * i + 1, 'slow'))
    peer.send({ type: 1, flags: 8, id: 2 * i + 1 })
  }
  await peer.ping()
  t.is(running, 3)
  release.resolve()
})

test('a peer that sends requests and does not read is limited', async (t) => {
  const { peer, socket, ended } = await attacked(t, {
    controlRate: { count: Infinity, per: 1_000 },
  })
  socket.pause()
  const pings = Buffer.concat(
    Array.from({ length: 20_000 }, (_, i) => frame({ type: 2, flags: 1, id: 0, length: i })),
  )
  while (!socket.destroyed) {
    if (!peer.write(pings)) await Promise.race([once(socket, 'drain').catch(() => {}), ended])
    if (await Promise.race([ended, Promise.resolve(undefined)])) break
  }
  t.is(await ended, 'ERR_CIO_FLOOD')
})

test('a peer that does not read blocks the streams to it, and close() ends it', async (t) => {
  const sent = deferred<Duplex>()
  const inner = echoing({
    flood: async (ctx) => {
      sent.resolve(ctx.stream)
      while (!ctx.stream.destroyed) {
        if (!ctx.stream.write(Buffer.alloc(64 * 1024))) await once(ctx.stream, 'drain')
      }
    },
  })
  const app = new Cio().useConnection(multiplex(inner))
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.pause()
  const peer = new Peer(socket)
  peer.send({ type: 1, flags: 1, id: 1 })
  peer.send(opening(1, 'flood'))
  // It claims to have room for everything.
  peer.send({ type: 1, flags: 0, id: 1, length: 2 ** 31 })
  const stream = await sent.promise
  t.true(stream.writableLength <= 128 * 1024)
  t.deepEqual(await server.close({ timeout: 100 }), { forced: 1 })
})

test('options are checked when the middleware is made', (t) => {
  const app = new Cio()
  const bad: unknown[] = [
    { maxStreams: -1 },
    { maxPending: 0 },
    { maxHeadersSize: 65_536 },
    { receiveWindow: 1_000 },
    { receiveWindow: Infinity },
    { controlRate: 5 },
    { controlRate: { count: 1, per: -1 } },
    { initiator: 'yes' },
    { unknown: 1 },
  ]
  for (const options of bad) {
    const error = t.throws(() => multiplex(app, options as MultiplexOptions))
    t.true(isCioError(error, 'ERR_CIO_OPTION'), JSON.stringify(options))
  }
  const error = t.throws(() => multiplex({} as Cio))
  t.true(isCioError(error, 'ERR_CIO_OPTION'))
})

test('the mux of a closed connection rejects with an error', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection(() => {}),
  )
  const client = await new Cio().useClient(multiplex(echoing())).connect(server.port)
  await client.closed
  await t.throwsAsync(client.mux.open('late'), { code: 'ERR_CIO_CLOSED' })
  await t.throwsAsync(client.mux.ping(), { code: 'ERR_CIO_CLOSED' })
})

test('the stream has no listeners of multiplex after its end', async (t) => {
  const before = deferred<number>()
  const app = new Cio()
    .useConnection(async (ctx, next) => {
      const listeners = ctx.stream.listenerCount('data')
      await next()
      before.resolve(ctx.stream.listenerCount('data') - listeners)
    })
    .useConnection(multiplex(echoing()))
  const socket = await dial(t, await serve(t, app))
  socket.end()
  t.is(await before.promise, 0)
})

test('a peer that leaves in the middle of a frame ends the streams, and causes no other error', async (t) => {
  const code = deferred<string | undefined>()
  const inner = echoing({
    cut: async (ctx) => code.resolve(await failure(ctx.stream)),
  })
  const { peer, socket } = await attacked(t, {}, inner)
  peer.send({ type: 1, flags: 1, id: 1 })
  peer.send(opening(1, 'cut'))
  peer.write(frame({ type: 0, flags: 0, id: 1, payload: Buffer.alloc(100) }).subarray(0, 50))
  socket.end()
  t.is(await code.promise, 'ERR_CIO_CLOSED')
})

test('the result is the same, however the input is chunked', async (t) => {
  for (const size of [1, 2, 3, 5, 7, 11, 13, 29]) {
    const { peer } = await attacked(t)
    const all = Buffer.concat([
      frame({ type: 1, flags: 1, id: 1 }),
      frame(opening(1, 'echo', { a: 'é' })),
      frame({ type: 0, flags: 0, id: 1, payload: Buffer.from('hello, ') }),
      frame({ type: 2, flags: 1, id: 0, length: 77 }),
      frame({ type: 0, flags: 4, id: 1, payload: Buffer.from('world') }),
    ])
    for (let at = 0; at < all.length; at += size) {
      peer.write(all.subarray(at, at + size))
      // Each arrives on its own.
      await new Promise((resolve) => setImmediate(resolve))
    }
    t.is(await peer.textOf(1), 'hello, world')
  }
})

test('unread single bytes take no more memory than their number', (t) => {
  const backlog = new ReceiveBuffer()
  const pieces = 40_000
  // Each is a part of its own chunk, as from a socket.
  for (let i = 0; i < pieces; i++) backlog.add(Buffer.alloc(1_024, i).subarray(7, 8), 1_024)
  const blocks = backlog.drain()
  const all = Buffer.concat(blocks)
  t.is(all.length, pieces)
  t.true(all.every((byte, i) => byte === i % 256))
  const held = blocks.reduce((sum, { buffer }) => sum + buffer.byteLength, 0)
  t.true(held < pieces + 16 * 1_024, `${held} bytes`)
  t.deepEqual(backlog.drain(), [])

  // A piece that is most of its chunk is not copied.
  const large = Buffer.alloc(64 * 1_024)
  backlog.add(Buffer.from('first'), 5)
  backlog.add(large, large.length)
  t.deepEqual(
    backlog.drain().map(({ length }) => length),
    [5, large.length],
  )
})

test.serial(
  'an opening costs what its bytes do, and holds twice of them, however it is cut',
  async (t) => {
    const max = 60_000
    const bytes = writeOpening({ name: 'x'.repeat(max - 10), headers: {} }, max)
    const read = (size: number): OpeningReader => {
      const reader = new OpeningReader(max)
      for (let at = 0; at < size; at++) t.is(reader.take(bytes.subarray(at, at + 1)), undefined)
      return reader
    }
    const bare = (size: number): void => {
      const reader = new OpeningReader(max)
      for (let at = 0; at < size; at++) reader.take(bytes.subarray(at, at + 1))
    }
    t.true((await growth(bare, 7_000, 8)) < 24)
    // Plus the other memory of a test run.
    const count = 100
    const memory = held(() => Array.from({ length: count }, () => read(10_000)))
    t.true(memory < count * 2 * 10_000 + 1_000_000, `${memory} bytes`)
  },
)

test('short pieces take short blocks', (t) => {
  const backlog = new ReceiveBuffer()
  backlog.add(Buffer.from('x'), 100)
  const [block] = backlog.drain()
  t.is(block!.buffer.byteLength, 64)
})

test('the error for HTTP on a port of multiplex shows how it begins, however it is cut (netty/netty#14559)', async (t) => {
  for (const size of [1, 100]) {
    const app = new Cio().useConnection(multiplex(echoing()))
    const told = nextEvent(app, 'remoteError')
    const socket = await dial(t, await serve(t, app))
    const request = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
    for (let at = 0; at < request.length; at += size) {
      socket.write(request.subarray(at, at + size))
      await new Promise(setImmediate)
    }
    const [error] = await told
    t.is(error.code, 'ERR_CIO_MULTIPLEX')
    t.regex(
      error.message,
      /^127\.0\.0\.1:\d+ sent a frame of type 18245 .*begins with "GET \/ HTTP\/1"/,
    )
  }
})
