import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Server, type Socket, createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import {
  Cio,
  type CioError,
  type ConnectionContext,
  type TimeoutOptions,
  reconnect,
  timeout,
} from '../../src/index.ts'
import { identity, path } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter, dial, listenBare, serve } from '../support/serve.ts'
import { dialOver, nextEvent, open, transports } from '../support/transports.ts'

const off = { handshake: Infinity, firstByte: Infinity, idle: Infinity, write: Infinity }
const big = 16 * 1024 * 1024

/** An echo with these timeouts; the others are off. */
function echo(options: TimeoutOptions): Cio {
  return new Cio().useConnection(timeout({ ...off, ...options })).useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
}

/** The error code that ended a connection of an app. */
async function told(app: Cio): Promise<string> {
  const [error] = await nextEvent(app, 'remoteError')
  return (error as CioError).code
}

function closed(stream: Duplex): Promise<void> {
  stream.on('error', () => {})
  stream.resume()
  return new Promise((resolve) => {
    if (stream.destroyed) return resolve()
    stream.once('end', () => stream.end())
    stream.once('close', () => resolve())
  })
}

/**
 * Replies to each reply with another byte, now and then, for that many milliseconds, or until it is closed.
 * Fulfils with the longest silence: a stall of this process is one.
 */
async function chat(stream: Duplex, time: number): Promise<number> {
  const start = performance.now()
  const over = new Promise<void>((resolve) => {
    stream.once('end', resolve).once('close', resolve)
  })
  let last = start
  let longest = 0
  while (last - start < time && !stream.readableEnded && !stream.destroyed) {
    stream.write('.')
    await Promise.race([new Promise((resolve) => stream.once('data', resolve)), over])
    await delay(50)
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }
  return longest
}

for (const transport of transports) {
  test(`a peer that is silent from the start is disconnected over ${transport}`, async (t) => {
    const app = echo({ firstByte: 1_000 })
    const code = told(app)
    const over = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.resume()
    t.is(await code, 'ERR_CIO_FIRST_BYTE')
    const [ctx] = await over
    t.like(ctx.signal.reason, { code: 'ERR_CIO_FIRST_BYTE', fault: 'remote' })
  })

  test(`a connection that becomes silent is closed over ${transport}`, async (t) => {
    const app = echo({ firstByte: 30_000, idle: 1_000 })
    const code = told(app)
    const client = await open(t, app, transport)
    client.write('hello')
    client.resume()
    t.is(await code, 'ERR_CIO_IDLE')
  })

  test(`a peer that does not read its data is disconnected over ${transport}`, async (t) => {
    const app = new Cio()
      .useConnection(timeout({ ...off, write: 1_000 }))
      .useConnection(async (ctx, next) => {
        ctx.stream.write(Buffer.alloc(big))
        await next()
      })
    const code = told(app)
    const client = await open(t, app, transport)
    client.on('error', () => {})
    client.pause()
    t.is(await code, 'ERR_CIO_WRITE_TIMEOUT')
  })

  test(`a connection in use is not idle over ${transport}`, async (t) => {
    const app = echo({ firstByte: 1_500, idle: 1_500, write: 1_500 })
    const errors: string[] = []
    app.on('remoteError', (error) => errors.push(error.message))
    const over = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    const silence = await chat(client, 2_500)
    client.end()
    client.resume()
    await over
    t.true(errors.length === 0 || silence > 1_000, `${errors.join()} after ${silence} ms`)
  })
}

test('a peer that sends nothing after its handshake is disconnected by `firstByte`', async (t) => {
  const app = echo({ firstByte: 150 })
  const secured = nextEvent(app, 'secure')
  const code = told(app)
  const server = await serve(t, app, identity('server'))
  const client = await dialOver(t, 'TLS 1.3', server)
  client.resume()
  await secured
  t.is(await code, 'ERR_CIO_FIRST_BYTE')
})

test('a handshake that takes too long is closed, however much data it sends', async (t) => {
  const app = echo({ handshake: 200 })
  const code = told(app)
  const server = await serve(t, app, identity('server'))
  const client = await dial(t, server)
  // A record of 512 bytes, a ClientHello of 508, sent one byte now and then.
  client.write(Buffer.from('1603010200010001fc0303', 'hex'))
  const drip = setInterval(() => client.write('\x01'), 20)
  t.teardown(() => clearInterval(drip))
  t.is(await code, 'ERR_CIO_HANDSHAKE_TIMEOUT')
})

test('a slowloris that sends a byte now and then lives until its lifetime, and no longer', async (t) => {
  const app = echo({ firstByte: 2_000, idle: 2_000, lifetime: 300, drainTimeout: 50 })
  const codes: string[] = []
  app.on('remoteError', (error) => codes.push((error as CioError).code))
  const server = await serve(t, app)
  const client = await dial(t, server)
  const drip = setInterval(() => client.write('x'), 20)
  t.teardown(() => clearInterval(drip))
  await closed(client)
  t.deepEqual(codes, ['ERR_CIO_LIFETIME'])
})

test('a connection over its lifetime drains, and can finish', async (t) => {
  const app = new Cio()
    .useConnection(timeout({ ...off, lifetime: 100, drainTimeout: 30_000 }))
    .useConnection(async (ctx) => {
      await once(ctx.draining, 'abort')
      ctx.stream.write('goodbye')
    })
  const codes: string[] = []
  app.on('remoteError', (error) => codes.push((error as CioError).code))
  const server = await serve(t, app)
  const client = await dial(t, server)
  let said = ''
  client.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const over = nextEvent(app, 'close')
  await closed(client)
  t.is(said, 'goodbye')
  const [ctx] = await over
  t.deepEqual(codes, ['ERR_CIO_LIFETIME'])
  t.like(ctx.draining.reason, { code: 'ERR_CIO_CLOSING' })
  t.like((ctx.draining.reason as CioError).cause, { code: 'ERR_CIO_LIFETIME' })
})

test('a message names the peer and the time', async (t) => {
  const app = echo({ idle: 50 })
  const server = await serve(t, app)
  const failed = nextEvent(app, 'remoteError')
  await dial(t, server)
  const [error] = await failed
  t.regex(error.message, /^127\.0\.0\.1:\d+ .* 50 ms$/)
})

test('the memory of an echo for a peer that never reads is limited', async (t) => {
  const app = new Cio()
    .useConnection(timeout({ ...off, write: 400 }))
    .useConnection(async (ctx, next) => {
      ctx.stream.pipe(ctx.stream)
      await next()
    })
  let contextOf: ConnectionContext | undefined
  app.on('connection', (ctx) => (contextOf = ctx))
  const code = told(app)
  const server = await serve(t, app)
  const client = await dial(t, server)
  client.pause()
  const block = Buffer.alloc(256 * 1024)
  let most = 0
  const flood = (): void => {
    if (client.destroyed) return
    const stream = contextOf?.stream
    most = Math.max(most, (stream?.readableLength ?? 0) + (stream?.writableLength ?? 0))
    client.write(block, flood)
  }
  flood()
  t.is(await code, 'ERR_CIO_WRITE_TIMEOUT')
  t.true(most <= 1024 * 1024, String(most))
})

/** A bare server that keeps its connections. */
async function keeper(t: ExecutionContext, accept: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer((socket) => {
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    accept(socket)
  })
  return listenBare(t, server)
}

test('a client whose server stalls ends', async (t) => {
  const port = await keeper(t, (socket) => socket.resume())
  const app = new Cio().useClient(timeout({ ...off, idle: 100 }))
  const code = told(app)
  const client = await app.connect({ host: '127.0.0.1', port })
  await client.closed
  t.is(await code, 'ERR_CIO_IDLE')
})

test('a client does not need a first byte from its server, unless the option is set', async (t) => {
  const port = await keeper(t, (socket) => socket.resume())
  const patient = new Cio().useClient(timeout({ idle: 150 }))
  const patience = told(patient)
  await patient.connect({ host: '127.0.0.1', port })
  t.is(await patience, 'ERR_CIO_IDLE')

  const impatient = new Cio().useClient(timeout({ firstByte: 100, idle: 60_000 }))
  const impatience = told(impatient)
  await impatient.connect({ host: '127.0.0.1', port })
  t.is(await impatience, 'ERR_CIO_FIRST_BYTE')
})

test('a client over TLS counts only decrypted bytes for the first byte', async (t) => {
  const server = await serve(t, new Cio(), identity('server'))
  const app = new Cio().useClient(timeout({ ...off, firstByte: 150 }))
  const code = told(app)
  const options = { host: '127.0.0.1', servername: 'localhost', ca: path('root.crt') }
  await app.connect({ ...options, port: server.port })
  t.is(await code, 'ERR_CIO_FIRST_BYTE')
})

test('reconnect makes another connection in place of one that stalled', async (t) => {
  let accepted = 0
  const port = await keeper(t, (socket) => {
    socket.resume()
    accepted++
  })
  const app = new Cio()
    .useClient(reconnect({ delay: 1, retries: 5 }))
    .useClient(timeout({ ...off, idle: 100 }))
  app.on('remoteError', () => {})
  const again = new Promise<void>((resolve) => {
    let connects = 0
    app.on('connect', () => {
      if (++connects === 3) resolve()
    })
  })
  closeAfter(t, app)
  await app.connect({ host: '127.0.0.1', port })
  await again
  t.true(accepted >= 3)
})

test('a stream without a socket is restored afterwards', async (t) => {
  const [near, far] = duplexPair()
  const parts = (): unknown[] =>
    ['push', '_write', '_writev'].map((name) => Reflect.get(near, name))
  const seen: Record<string, unknown[]> = {}
  const app = new Cio()
    .useConnection(
      async (_ctx, next) => {
        seen.before = parts()
        await next()
        seen.after = parts()
      },
      { before: 'timeout' },
    )
    .useConnection(timeout())
    .useConnection(() => void (seen.within = parts()))
  far.resume()
  const ctx = app.handle(near)
  far.end()
  await ctx.closed
  const { before, within, after } = seen
  t.not(within![0], before![0])
  before!.forEach((part, index) => t.is(after![index], part))
})

test.serial('no timer is left when a connection is closed', async (t) => {
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
  const app = echo({ firstByte: 1_000_000, idle: 1_000_000, lifetime: 1_000_000 })
  const [near, far] = duplexPair()
  const before = timers()
  const ctx = app.handle(near)
  t.is(timers(), before + 1)
  far.resume()
  far.end()
  await ctx.closed
  t.is(timers(), before)
})

for (const [title, options] of [
  ['a time of nothing', { idle: 0 }],
  ['a negative time', { write: -1 }],
  ['a misspelt option', { ilde: 5 }],
] as const) {
  test(`${title} is an invalid option`, (t) => {
    t.throws(() => timeout(options as TimeoutOptions), { code: 'ERR_CIO_OPTION' })
  })
}
