import test, { type ExecutionContext } from 'ava'
import { Peek } from '../../src/kit.ts'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { Cio, CioError, type ConnectionContext, type ConnectionEnd } from '../../src/index.ts'
import { Lifecycle, type Phase } from '../../src/lifecycle/lifecycle.ts'
import { hasUnreadEnd } from '../../src/streams/reading.ts'
import { identity } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { closeAfter, dial, readAll, serve } from '../support/serve.ts'
import {
  deferred,
  dialOver,
  nextEvent,
  networks,
  open,
  reset,
  transports,
  type Transport,
} from '../support/transports.ts'

// The machine

class Plain extends Lifecycle {
  readonly calls: string[] = []
  protected override drained(): void {
    this.calls.push('drained')
  }
  protected override cutOff(): number {
    this.calls.push('cutOff')
    this.destroy()
    return 1
  }
  protected override leaveBehind(): void {
    this.calls.push('leaveBehind')
    this.settle()
  }
}

const rank: Record<Phase, number> = { starting: 0, ready: 1, draining: 2, closed: 3 }

/** Numbers that look random and are the same each time. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

test('whatever is done to a run in whatever order, its phase goes forward and its first cause counts', async (t) => {
  for (let seed = 1; seed <= 300; seed++) {
    const next = random(seed)
    const life = new Plain()
    const causes: Error[] = []
    let before = life.phase
    let first: unknown
    const asked = next() < 0.5 ? life.signal : undefined
    for (let step = 0; step < 12; step++) {
      const cause = new Error(`${seed}, ${step}`)
      causes.push(cause)
      const actions = [
        () => life.ready(),
        () => life.drain(cause),
        () => void life.close(Infinity, cause),
        () => life.destroy(cause),
        () => life.abort(cause),
        () => life.settle(cause),
        () => void life.close(0, cause),
      ]
      actions[Math.floor(next() * actions.length)]!()
      t.true(rank[life.phase] >= rank[before], `seed ${seed}: ${before} to ${life.phase}`)
      before = life.phase
      t.is(life.phase === 'closed', life.signal.aborted)
      t.is(life.isDraining, life.draining.aborted)
      if (life.signal.aborted) {
        first ??= life.signal.reason
        t.is(life.signal.reason, first)
      }
      if (asked) t.is(life.signal, asked)
    }
    life.settle()
    await life.settled
  }
})

test('a run that is closed twice has the shorter of the two times', async (t) => {
  for (const times of [
    [5, 60_000],
    [60_000, 5],
    [Infinity, 5],
  ] as const) {
    const life = new Plain()
    for (const time of times) void life.close(time)
    await once(life.signal, 'abort').catch(() => {})
    t.is(life.forced, 1)
    life.settle()
  }
})

// One watchdog, whichever way a run ends

const endless = (entered?: (ctx: ConnectionContext) => void): Cio =>
  new Cio().useConnection(async function endless(ctx) {
    ctx.stream.write('here')
    entered?.(ctx)
    await new Promise(() => {})
  })

for (const transport of transports) {
  test(`a destroyed connection whose handler hangs is left behind, and its server forgets it, over ${transport}`, async (t) => {
    const mine = new Error('mine')
    for (const error of [mine, undefined]) {
      const entered = deferred<ConnectionContext>()
      const app = endless((ctx) => entered.resolve(ctx))
      const errors: Error[] = []
      app.on('error', (each) => errors.push(each))
      const closed = nextEvent(app, 'close')
      const client = await open(t, app, transport)
      client.on('error', () => {})
      client.resume()
      const ctx = await entered.promise
      ctx.destroy(error)
      const [, end] = await closed
      t.like(errors, [{ code: 'ERR_CIO_STUCK' }])
      t.true(errors[0]!.message.includes('`endless`'))
      t.like(end, { reason: 'stuck', by: 'local', step: 'endless', code: 'ERR_CIO_STUCK' })
      t.is(ctx.server?.connections.size ?? 0, 0)
      t.is(ctx.signal.reason, error ?? ctx.signal.reason)
    }
  })
}

for (const transport of networks) {
  test(`a handler that hangs when its client has reset is left behind, over ${transport}`, async (t) => {
    const app = endless()
    const told = once(app, 'error')
    const server = await serve(t, app, transport === 'tcp' ? {} : identity('server'))
    const client = await dialOver(t, transport, server)
    await once(client, 'data')
    reset(client)
    t.like((await told)[0], { code: 'ERR_CIO_STUCK' })
    t.is(server.connections.size, 0)
  })
}

test('a handler that returns late, after it was left behind, changes nothing', async (t) => {
  const released = deferred()
  const returned = deferred()
  let closes = 0
  const app = new Cio().useConnection(async (ctx) => {
    ctx.destroy()
    await released.promise
    setImmediate(() => returned.resolve())
    throw new Error('too late')
  })
  const errors: Error[] = []
  app.on('error', (error) => errors.push(error))
  app.on('close', () => closes++)
  const closed = nextEvent(app, 'close')
  await open(t, app, 'tcp')
  await closed
  released.resolve()
  await returned.promise
  t.is(closes, 1)
  t.like(errors, [{ code: 'ERR_CIO_STUCK' }])
})

// Half open

/** Opens a connection with this time; over memory there is no server to set it. */
async function openHalf(
  t: ExecutionContext,
  app: Cio,
  transport: Transport,
  halfOpenTimeout: number,
): Promise<Duplex> {
  if (transport !== 'memory') return open(t, app, transport, { halfOpenTimeout })
  const [near, far] = duplexPair()
  closeAfter(t, app)
  app.handle(near, { halfOpenTimeout })
  return far
}

for (const transport of transports) {
  test(`an end behind input that nothing reads begins halfOpenTimeout, over ${transport}`, async (t) => {
    const reasons: unknown[] = []
    const app = new Cio().useConnection(async ({ signal }) => {
      await once(signal, 'abort').catch(() => {})
      reasons.push((signal.reason as CioError).code)
    })
    const closed = nextEvent(app, 'close')
    const client = await openHalf(t, app, transport, 40)
    client.on('error', () => {})
    client.end('unread')
    const [, end] = await closed
    t.like(end, { reason: 'remote_ended' })
    t.deepEqual(reasons, ['ERR_CIO_HALF_OPEN'])
  })

  test(`behind input that a middleware has put back, too, over ${transport}`, async (t) => {
    const app = new Cio().useConnection(async (ctx) => {
      const peek = new Peek(ctx.stream, { maxSize: 1_000, timeout: 60_000 })
      while (await peek.more());
      peek.release()
      await once(ctx.signal, 'abort').catch(() => {})
    })
    const closed = nextEvent(app, 'close')
    const client = await openHalf(t, app, transport, 40)
    client.on('error', () => {})
    client.end('unread')
    const [, end] = await closed
    t.like(end, { reason: 'remote_ended' })
  })

  test(`input that is read slowly is not cut off behind an end, over ${transport}`, async (t) => {
    const first = deferred()
    const goOn = deferred()
    let came = ''
    const app = new Cio().useConnection(async (ctx) => {
      if (came === '') {
        // The rest comes, and the end behind it, while nothing reads.
        for await (const chunk of ctx) {
          came = String(chunk)
          break
        }
        first.resolve()
        await goOn.promise
        for await (const chunk of ctx) came += String(chunk)
        return
      }
      await once(ctx.signal, 'abort').catch(() => {})
    })
    const reasons: unknown[] = []
    const silent = new Promise<void>((resolve) => {
      app.on('close', (_ctx, { reason, code }) => {
        reasons.push(reason)
        if (code === 'ERR_CIO_HALF_OPEN') resolve()
      })
    })
    const client = await openHalf(t, app, transport, 40)
    client.write('first ')
    await first.promise
    client.end('second')
    // Another one, whose time begins later and which is cut off at its end.
    const other = await openHalf(t, app, transport, 40)
    other.on('error', () => {})
    other.end('unread')
    await silent
    goOn.resolve()
    await once(client.resume(), 'end')
    t.is(came, 'first second')
  })

  test(`a connection that is silent after its client has ended is closed, over ${transport}`, async (t) => {
    const ended = deferred<unknown>()
    const app = new Cio().useConnection(async (ctx, next) => {
      ctx.signal.addEventListener('abort', () => ended.resolve(ctx.signal.reason))
      // As a protocol library does that was written for the default of `net`.
      ctx.stream.on('data', () => {})
      ctx.stream.on('end', () => {})
      await next()
    })
    for (const event of ['error', 'remoteError'] as const) {
      app.on(event, (error: Error) => t.fail(String(error)))
    }
    const closed = nextEvent(app, 'close')
    const client = await openHalf(t, app, transport, 40)
    client.end('hello')
    client.resume()
    t.like(await ended.promise, { code: 'ERR_CIO_HALF_OPEN', fault: 'remote' })
    const [ctx, end] = await closed
    t.like(end, { reason: 'remote_ended', by: 'remote', code: 'ERR_CIO_HALF_OPEN' })
    t.true(ctx.stream.destroyed)
  })

  test(`an answer that keeps coming after the client has ended is not cut, over ${transport}`, async (t) => {
    const app = new Cio().useConnection(async (ctx) => {
      for await (const _ of ctx);
      for (let part = 0; part < 8; part++) {
        ctx.stream.write(String(part))
        await delay(300)
      }
    })
    const client = await openHalf(t, app, transport, 1_500)
    client.end('hello')
    t.is(await readAll(client), '01234567')
  })
}

test('halfOpenTimeout: 0 ends a connection with its client, as net does', async (t) => {
  for (const transport of networks) {
    const app = new Cio().useConnection(async ({ stream }, next) => {
      stream.on('end', () => {})
      stream.resume()
      await next()
    })
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport, { halfOpenTimeout: 0 })
    client.end('hello')
    client.resume()
    const [, end] = await closed
    t.like(end, { reason: 'remote_ended', code: undefined })
  }
})

test('halfOpenTimeout: Infinity waits for a call that takes long', async (t) => {
  const released = deferred()
  const app = new Cio().useConnection(async (ctx) => {
    for await (const _ of ctx);
    await released.promise
    ctx.stream.write('at last')
  })
  const client = await open(t, app, 'tcp', { halfOpenTimeout: Infinity })
  client.end('hello')
  const said = readAll(client)
  await delay(20)
  released.resolve()
  t.is(await said, 'at last')
})

test('a half-open time that is no duration is refused, at all three places', async (t) => {
  const wrong = { code: 'ERR_CIO_OPTION', message: /`halfOpenTimeout`/ }
  await t.throwsAsync(serve(t, new Cio(), { halfOpenTimeout: -1 }), wrong)
  const [near] = duplexPair()
  t.throws(() => new Cio().handle(near, { halfOpenTimeout: -1 }), wrong)
  const { port } = await serve(t, new Cio())
  await t.throwsAsync(new Cio().connect(port, { halfOpenTimeout: -1 }), wrong)
})

test('a client that is silent after its server has ended is over', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end('bye')),
  )
  const app = new Cio().useClient(async ({ stream }, next) => {
    stream.on('end', () => {})
    stream.resume()
    await next()
  })
  const over = once(app, 'disconnect')
  await app.connect({ port: server.port, host: '127.0.0.1', halfOpenTimeout: 40 })
  const [error, , end] = (await over) as unknown as [Error, unknown, ConnectionEnd]
  t.like(error, { code: 'ERR_CIO_HALF_OPEN' })
  t.like(end, { reason: 'remote_ended', code: 'ERR_CIO_HALF_OPEN' })
})

// What was cut off does not look whole

/** How a client sees the end: its bytes, and the code of an error. */
async function seen(client: Socket | Duplex): Promise<{ said: string; code: string | undefined }> {
  let said = ''
  let code: string | undefined
  client.on('data', (chunk) => (said += String(chunk)))
  client.on('error', (error: NodeJS.ErrnoException) => (code = error.code))
  if (!client.destroyed) await new Promise((resolve) => client.once('close', resolve))
  return { said, code }
}

for (const transport of networks) {
  for (const how of ['throws', 'destroys'] as const) {
    test(`a handler that ${how} after part of an answer is a reset to its client (istio/ztunnel#1483), over ${transport}`, async (t) => {
      const app = new Cio().useConnection(async (ctx) => {
        ctx.stream.write('half of it')
        await once(ctx.stream, 'data')
        const error = new Error('mine')
        if (how === 'throws') throw error
        ctx.destroy(error)
      })
      app.on('error', () => {})
      const client = await open(t, app, transport)
      const end = seen(client)
      await once(client, 'data')
      client.write('go on')
      t.is((await end).code, 'ECONNRESET')
    })
  }

  test(`a word of refusal arrives before the end, over ${transport}`, async (t) => {
    const app = new Cio().useConnection(async (ctx) => {
      await once(ctx.stream, 'data')
      ctx.stream.write('not you')
      throw new CioError('ERR_TEST_REFUSED', 'not you', { fault: 'remote' })
    })
    app.on('error', (error) => t.fail(String(error)))
    for (let run = 0; run < 20; run++) {
      const client = await open(t, app, transport)
      const end = seen(client)
      // More than is read, so that a plain close would be a reset.
      client.write(Buffer.alloc(300_000))
      client.once('end', () => client.end())
      t.deepEqual(await end, { said: 'not you', code: undefined })
    }
  })
}

test('thirty clients refused right after their handshake end no process', async (t) => {
  const app = new Cio().useConnection((ctx) => {
    ctx.stream.write('half of it')
    throw new Error('mine')
  })
  app.on('error', () => {})
  const server = await serve(t, app, identity('server'))
  const clients = Array.from({ length: 30 }, async () => {
    const client = await dialOver(t, 'TLS 1.3', server)
    return seen(client)
  })
  const ends = await Promise.all(clients.map((client) => client.catch(() => undefined)))
  t.is(ends.length, 30)
  // The process is there, and serves.
  t.deepEqual(await app.close(), { forced: 0 })
})

test('what waits to be sent at the deadline of close() is cut by a reset, if it cannot be sent', async (t) => {
  const written = deferred<Duplex>()
  let resets = 0
  const app = new Cio().useConnection(async (ctx, next) => {
    const { _handle: handle } = ctx.socket as unknown as { _handle: { reset: () => void } }
    const { reset } = handle
    // A client that does not read is the one that would see it, and does not while it does not read.
    handle.reset = function (...given) {
      resets++
      return reset.apply(this, given)
    }
    ctx.stream.write(Buffer.alloc(64 * 1024 * 1024))
    written.resolve(ctx.stream)
    await next()
  })
  for (const event of ['error', 'remoteError'] as const) app.on(event, () => {})
  const server = await serve(t, app)
  const client = await dial(t, server)
  client.pause()
  const gone = once(await written.promise, 'close')
  t.deepEqual(await server.close({ timeout: 5 }), { forced: 1 })
  await gone
  t.is(resets, 1)
})

// Alone: it has half a second.
test.serial(
  'what is under way at the deadline of close() arrives, if its client reads',
  async (t) => {
    // More than the kernel takes at once, and no more: it has half a second to arrive.
    const size = 4 * 1024 * 1024
    const app = new Cio().useConnection(async (ctx) => {
      await once(ctx.draining, 'abort')
      ctx.stream.write(Buffer.alloc(size))
      await once(ctx.signal, 'abort')
    })
    app.on('remoteError', () => {})
    const opened = once(app, 'connection')
    const server = await serve(t, app)
    const client = await dial(t, server)
    await opened
    let received = 0
    client.on('data', (chunk) => (received += chunk.length))
    const gone = once(client, 'end')
    t.deepEqual(await server.close({ timeout: 5 }), { forced: 1 })
    await gone
    t.is(received, size)
  },
)

// Node's own iterator

for (const transport of networks) {
  test(`a reply after a loop over ctx.stream arrives, or is an error that says what to write (nodejs/node#49073), over ${transport}`, async (t) => {
    const app = new Cio().useConnection(async function looping(ctx) {
      let size = 0
      for await (const chunk of ctx.stream) size += (chunk as Buffer).length
      ctx.stream.write(String(size))
    })
    app.on('remoteError', (error) => t.fail(String(error)))
    const errors: Error[] = []
    app.on('error', (error) => errors.push(error))
    const closed = nextEvent(app, 'close')
    const client = await open(t, app, transport)
    client.on('error', () => {})
    let reply = ''
    client.on('data', (chunk: Buffer) => (reply += String(chunk)))
    client.end('hello')
    await once(client, 'close')
    const [, { reason, code }] = await closed
    // Only Node decides it: of 20 to 26, version 24 alone leaves the stream open after such a loop.
    if (reply === '5') t.deepEqual([errors, reason, code], [[], 'remote_ended', undefined])
    else {
      t.deepEqual([reply, reason, code], ['', 'local_fault', 'ERR_CIO_ITERATED'])
      t.true(errors[0]!.message.includes('for await (const chunk of ctx)'))
    }
  })
}

// Listeners of signals

test('any number may listen to a signal of Cio’s, or to one given to many calls (nodejs/undici#3157)', async (t) => {
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  const { signal } = new AbortController()
  const app = new Cio().useConnection(async (ctx, next) => {
    ctx.server!.draining.addEventListener('abort', () => {})
    ctx.server!.signal.addEventListener('abort', () => {})
    await next()
  })
  const server = await serve(t, app, { signal })
  const clients = new Cio()
  closeAfter(t, clients)
  for (let count = 0; count < 15; count++) {
    await clients.connect({ port: server.port, host: '127.0.0.1', signal })
  }
  await clients.close()
  await server.close()
  await new Promise(setImmediate)
  process.off('warning', warn)
  t.deepEqual(
    warnings.filter(({ name }) => name === 'MaxListenersExceededWarning'),
    [],
  )
})

// What is known when

test('secured fulfils when the handshake is done, and where there is none', async (t) => {
  const order: string[] = []
  for (const transport of transports) {
    const app = new Cio().useConnection(
      async (ctx, next) => {
        void ctx.secured.then(() => order.push(ctx.encrypted ? 'TLS' : 'plain'))
        await next()
      },
      { before: 'secure' },
    )
    app.useConnection(async (ctx) => {
      await ctx.secured
      ctx.stream.write('hello')
    })
    const client = await open(t, app, transport)
    client.on('error', () => {})
    client.end()
    await readAll(client)
  }
  t.is(order.length, transports.length)
  t.is(order.filter((each) => each === 'TLS').length, 2)
})

test('secured rejects where the connection is over before', async (t) => {
  const waits = deferred<readonly [Promise<void>]>()
  const app = new Cio().useConnection(
    (ctx, next) => {
      waits.resolve([ctx.secured])
      return next()
    },
    { before: 'secure' },
  )
  app.on('remoteError', () => {})
  const server = await serve(t, app, identity('server'))
  const client = await dial(t, server)
  client.write('no TLS at all')
  client.resume()
  const [secured] = await waits.promise
  await t.throwsAsync(secured, { any: true, code: 'ERR_CIO_HANDSHAKE' })
})

test('a context knows of which pipeline it is', async (t) => {
  const kinds: string[] = []
  const app = new Cio()
    .useServer((ctx, next) => (kinds.push(ctx.kind), next()))
    .useConnection((ctx, next) => (kinds.push(ctx.kind), next()))
    .useClient((ctx, next) => (kinds.push(ctx.kind), next()))
  const server = await serve(t, app)
  const opened = once(app, 'connection')
  await app.connect({ port: server.port, host: '127.0.0.1' })
  await opened
  t.deepEqual(kinds.toSorted(), ['client', 'connection', 'server'])
})

test('a reset before it is accepted is no local socket, and is said by close alone', async (t) => {
  const app = new Cio()
  for (const event of ['error', 'remoteError', 'reject'] as const) {
    app.on(event, (error: Error) => t.fail(`${event}: ${error.message}`))
  }
  const server = await serve(t, app)
  const ends: [string, ConnectionEnd][] = []
  app.on('close', (ctx, end) => ends.push([ctx.remote, end]))
  for (let count = 0; count < 20; count++) {
    const client = await dial(t, server)
    client.resetAndDestroy()
  }
  while (ends.length < 20) await once(app, 'close')
  for (const [remote, end] of ends) {
    t.not(remote, 'a local socket')
    t.like(end, { reason: 'nothing_said', by: 'remote' })
  }
})

test('accepted sockets are kept alive', async (t) => {
  const server = await serve(t, new Cio())
  t.true((server.server as unknown as { keepAlive: boolean }).keepAlive)
  const without = await serve(t, new Cio(), { keepAlive: false })
  t.false((without.server as unknown as { keepAlive: boolean }).keepAlive)
})

const selfClosers: Record<string, (t: ExecutionContext, app: Cio) => Promise<unknown>> = {
  'a connection': async (t, app) => {
    app.useConnection((ctx) => ctx.close({ timeout: 20 }).then(() => {}))
    const server = await serve(t, app)
    return dial(t, server)
  },
  'the server around it': async (t, app) => {
    app.useConnection(async (ctx) => void (await ctx.server?.close({ timeout: 20 })))
    const server = await serve(t, app)
    return dial(t, server)
  },
  'a server': async (t, app) => {
    app.useServer(async function own(ctx, next) {
      await next()
      await ctx.close({ timeout: 20 })
    })
    const server = await serve(t, app)
    return server.close({ timeout: 20 })
  },
}

for (const [what, run] of Object.entries(selfClosers)) {
  test(`a middleware that awaits the close() of ${what} ends, and is named (tulios/kafkajs#767)`, async (t) => {
    const app = new Cio()
    let reports = 0
    app.on('error', () => reports++)
    const failed = nextEvent(app, 'error')
    await run(t, app)
    const [error, ctx] = await failed
    t.like(error, { code: 'ERR_CIO_STUCK', fault: 'local' })
    t.truthy(ctx)
    await app.close()
    // The server had to wait for its connection; it is not left behind for that.
    t.is(reports, 1)
  })
}

test('close() without await within its own middleware ends the run, and no error is reported', async (t) => {
  const app = new Cio().useConnection((ctx) => void ctx.close())
  app.on('error', (error) => t.fail(error.message))
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  const client = await dial(t, server)
  client.resume().on('end', () => client.end())
  t.is((await closed)[1].reason, 'drained')
})

/** Stalls the event loop, and leaves the processor to the other tests. */
function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

test('a stall of the event loop leaves no middleware behind that returns in time', async (t) => {
  const app = new Cio().useConnection(async (ctx) => {
    ctx.stream.resume()
    await once(ctx.signal, 'abort')
    await new Promise((resolve) => setTimeout(resolve, 5))
  })
  app.on('error', (error) => t.fail(error.message))
  const opened = nextEvent(app, 'connection')
  const server = await serve(t, app)
  await dial(t, server)
  const [ctx] = await opened
  const closed = nextEvent(app, 'close')
  await new Promise(setImmediate)
  ctx.destroy()
  block(1_200)
  t.is((await closed)[1].reason, 'forced')
})

// In what is left of the time, the answer takes several turns of the event loop, which other tests make long.
test.serial(
  'a stall of the event loop does not cut an answer whose request was never read',
  async (t) => {
    // Several times what the kernel takes of a Unix socket.
    const size = 1024 * 1024
    const app = new Cio().useConnection(async ({ stream }) => {
      stream.read(0)
      while (!hasUnreadEnd(stream)) await new Promise(setImmediate)
      stream.write(Buffer.alloc(size))
      // The flush has begun by then.
      setImmediate(() => setImmediate(stall))
    })
    const stall = (): void => {
      block(4_500)
      // After the timers that the stall made late.
      setTimeout(() => client.resume(), 1)
    }
    app.on('remoteError', (error) => t.fail(error.message))
    const client = await open(t, app, 'unix', { flushTimeout: 4_000 })
    let received = 0
    client.on('data', (chunk: Buffer) => (received += chunk.length)).pause()
    client.end('a request')
    await once(client, 'close')
    t.is(received, size)
  },
)
