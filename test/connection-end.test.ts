import test, { type ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect as connectTls } from 'node:tls'
import { WebSocket } from 'ws'
import {
  Cio,
  CioError,
  type ClientContext,
  type ConnectionContext,
  type ConnectionEnd,
  type EndReason,
  type HandshakeFailure,
  type ListenOptions,
  type MessagesContext,
  type Refusal,
  allowList,
  defineMiddleware,
  lines,
  limit,
  multiplex,
  forward,
  proxyProtocol,
  route,
  timeout,
  certificateExpiry,
} from '../src/index.ts'
import { websocket } from '../middleware/websocket.ts'
import { describeEnd, reasonOf } from '../src/connection-end.ts'
import { endReasons } from '../src/end-reason.ts'
import { ofOpenssl } from './support/client-hello.ts'
import { identity, loaded, path as certificate } from './support/certificates.ts'
import { dial, serve } from './support/serve.ts'
import { mayBringTls } from './support/tls.ts'
import { deferred, networks, nextEvent } from './support/transports.ts'

const page = await readFile(new URL('../docs/errors.md', import.meta.url), 'utf8')
const endsPage = await readFile(new URL('../docs/ends.md', import.meta.url), 'utf8')
const codes = page
  .split('\n### ')
  .slice(1)
  .map((section) => {
    const [, code = '', fault = ''] =
      /^`(ERR_CIO_\w+)`\n[^]*?^- \*\*Fault:\*\* (\w+)$/m.exec(section) ?? []
    return [code, fault] as const
  })

test('every code of the page of errors stands for a reason of the closed set', (t) => {
  t.true(codes.length > 50)
  for (const [code, fault] of codes) {
    t.true(fault === 'remote' || fault === 'local', code)
    const reason = reasonOf(new CioError(code, '', { fault: fault as 'remote' }))
    t.true(endReasons.includes(reason), code)
    if (fault === 'local') t.not(reason, 'remote_fault', code)
    else t.not(reason, 'local_fault', code)
  }
})

test('what a middleware says itself of an end counts', (t) => {
  const error = new CioError('ERR_TEST_QUOTA', 'used up', {
    fault: 'remote',
    end: 'over_limit',
    why: 'quota',
    refusal: { step: 'quota', why: 'rate' },
  })
  t.deepEqual(describeEnd('quota', reasonOf(error), error), {
    reason: 'over_limit',
    by: 'local',
    why: 'quota',
    step: 'quota',
    code: 'ERR_TEST_QUOTA',
    error,
    refusal: { step: 'quota', why: 'rate' },
    handshake: undefined,
  })
})

/** The section of each reason on the page. */
const sections = [...endsPage.matchAll(/^### `(\w+)`\n([^#]+)/gm)].map(
  ([, reason, text]) => [reason!, text!] as const,
)

test('docs/ends.md has a section for each reason, in their order, and says which side ended it', (t) => {
  t.deepEqual(
    sections.map(([reason, text]) => [reason, /^- \*\*Ended by:\*\* (\w+)$/m.exec(text)?.[1]]),
    endReasons.map((reason) => [reason, describeEnd('', reason, undefined).by]),
  )
})

test('docs/ends.md has each code that stands for a reason, and no other', (t) => {
  const listed = sections.flatMap(([reason, text]) => {
    const list = /^- \*\*Codes:\*\*[^-]+/m.exec(text)?.[0] ?? ''
    return [...list.matchAll(/ERR_CIO_\w+/g)].map(([code]) => `${code}: ${reason}`)
  })
  const own = codes.flatMap(([code]) => {
    const [ofRemote, ofLocal] = (['remote', 'local'] as const).map((fault) =>
      reasonOf(new CioError(code, '', { fault })),
    )
    return ofRemote === ofLocal ? [`${code}: ${ofRemote}`] : []
  })
  t.deepEqual(listed.toSorted(), own.toSorted())
})

/** A way in which a connection ends: an app, and what its client does. */
interface Way {
  readonly app: () => Cio
  readonly options?: ListenOptions
  readonly client?: (port: number, t: ExecutionContext, app: Cio) => unknown
  readonly end: Partial<ConnectionEnd>
}

const reading = (app = new Cio()): Cio =>
  app.useConnection(async (ctx) => {
    for await (const chunk of ctx) ctx.stream.write(chunk)
  })
const waiting = (): Cio =>
  new Cio().useConnection(async (ctx) => {
    ctx.stream.resume()
    await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve))
  })

/** Connects, says something, and stays. */
async function says(port: number, t: ExecutionContext): Promise<void> {
  const client = await dial(t, { port })
  client.resume()
  client.write('hello\n')
}

const ways: Record<EndReason, Way> = {
  remote_ended: {
    app: reading,
    client: async (port, t) => {
      const client = await dial(t, { port })
      client.resume().end('hello')
    },
    end: { by: 'remote', code: undefined, error: undefined },
  },
  served: {
    app: () => new Cio().useConnection((ctx) => void ctx.stream.end('bye')),
    client: async (port, t) => {
      const client = await dial(t, { port })
      client.resume().on('end', () => client.end())
    },
    end: { by: 'local', code: undefined },
  },
  drained: {
    app: waiting,
    client: async (port, t, app) => {
      const opened = once(app, 'connection')
      const client = await dial(t, { port })
      client.resume().on('end', () => client.end())
      await opened
      void app.close()
    },
    end: { by: 'local', code: undefined },
  },
  nothing_said: {
    app: reading,
    client: async (port, t) => {
      const client = await dial(t, { port })
      client.resume().end()
    },
    end: { by: 'remote', code: undefined },
  },
  over_limit: {
    app: () => waiting().useConnection(limit({ connections: 1 })),
    client: async (port, t) => {
      await says(port, t)
      await says(port, t)
    },
    end: { by: 'local', code: 'ERR_CIO_REJECTED', refusal: { step: 'limit', why: 'connections' } },
  },
  not_admitted: {
    app: () => new Cio().useConnection(mayBringTls).useConnection(allowList(['alice'])),
    client: says,
    end: { by: 'local', code: 'ERR_CIO_REJECTED', refusal: { step: 'allowList', why: 'no_tls' } },
  },
  untrusted: {
    app: reading,
    options: { ...identity('server'), requestCert: true },
    client: (port) => connectTls({ port, rejectUnauthorized: false }).on('error', () => {}),
    end: {
      by: 'local',
      code: 'ERR_CIO_REJECTED',
      refusal: { step: 'secure', why: 'no_certificate' },
    },
  },
  // One that expires while it is connected is in test/middleware/certificate-expiry.test.ts.
  expired: {
    app: () => reading(new Cio().useConnection(certificateExpiry({ margin: Infinity }))),
    options: { ...identity('server'), ca: certificate('root.crt') },
    client: (port) =>
      connectTls({ port, ...loaded('alice'), rejectUnauthorized: false })
        .on('error', () => {})
        .resume(),
    end: {
      by: 'local',
      code: 'ERR_CIO_EXPIRED',
      refusal: {
        step: 'certificateExpiry',
        why: 'expired',
        peer: { name: 'alice', verified: true },
      },
    },
  },
  no_route: {
    app: () => new Cio().useConnection(route([{ when: { bytes: /^never/ }, to: reading() }])),
    client: says,
    end: { by: 'local', code: 'ERR_CIO_NO_ROUTE', refusal: { step: 'route', why: 'no_route' } },
  },
  handshake_timeout: {
    app: reading,
    options: { ...identity('server'), handshakeTimeout: 20 },
    client: dialAndStay,
    end: { by: 'local', code: 'ERR_CIO_HANDSHAKE_TIMEOUT' },
  },
  idle: {
    app: () => reading().useConnection(timeout({ idle: 20 })),
    client: says,
    end: { by: 'local', code: 'ERR_CIO_IDLE' },
  },
  not_reading: {
    app: () => new Cio().useConnection((ctx) => void ctx.stream.write(Buffer.alloc(32 << 20))),
    options: { flushTimeout: 50 },
    client: async (port, t) => {
      const client = await dial(t, { port })
      client.pause()
    },
    end: { by: 'local', code: 'ERR_CIO_FLUSH_TIMEOUT' },
  },
  too_old: {
    app: () => waiting().useConnection(timeout({ lifetime: 20 })),
    client: async (port, t) => {
      const client = await dial(t, { port })
      client.write('hello')
      client.resume().on('end', () => client.end())
    },
    end: { by: 'local', code: 'ERR_CIO_LIFETIME' },
  },
  forced: {
    app: () => new Cio().useConnection((ctx) => ctx.destroy()),
    client: says,
    end: { by: 'local', code: undefined },
  },
  handshake_failed: {
    app: reading,
    options: identity('server'),
    client: says,
    end: {
      by: 'remote',
      code: 'ERR_CIO_HANDSHAKE',
      handshake: { serverName: null, reason: 'wrong version number', alert: undefined },
    },
  },
  remote_reset: {
    app: reading,
    client: async (port, t) => {
      const client = await dial(t, { port })
      client.write('hello')
      await once(client, 'data')
      client.resetAndDestroy()
    },
    end: { by: 'remote', code: 'ECONNRESET' },
  },
  bad_header: {
    app: () =>
      reading().useConnection(proxyProtocol({ trusted: ['127.0.0.1'], timeout: Infinity })),
    client: says,
    end: { by: 'remote', code: 'ERR_CIO_PROXY_HEADER' },
  },
  bad_data: {
    app: () =>
      new Cio()
        .useConnection(lines({ maxLength: 3 }))
        .useConnection((ctx) => ctx.messages.each(() => {})),
    client: says,
    end: { by: 'remote', code: 'ERR_CIO_MESSAGE_TOO_LONG' },
  },
  remote_fault: {
    app: () =>
      new Cio().useConnection(() => {
        throw new CioError('ERR_TEST_RUDE', 'rude', { fault: 'remote', why: 'rude' })
      }),
    client: says,
    end: { by: 'remote', code: 'ERR_TEST_RUDE', why: 'rude' },
  },
  upstream: {
    app: () => new Cio().useConnection(forward({ path: '/nowhere' })),
    client: says,
    end: { by: 'local', code: 'ERR_CIO_UPSTREAM' },
  },
  local_fault: {
    app: () =>
      new Cio().useConnection(() => {
        throw new TypeError('mine')
      }),
    client: says,
    end: { by: 'local', code: undefined },
  },
  stuck: {
    app: () =>
      new Cio().useConnection((ctx) => {
        ctx.destroy()
        return new Promise(() => {})
      }),
    client: says,
    end: { by: 'local', code: 'ERR_CIO_STUCK' },
  },
}

async function dialAndStay(port: number, t: ExecutionContext): Promise<void> {
  await dial(t, { port })
}

test('each reason of the closed set has a way in which it happens', (t) => {
  t.deepEqual(Object.keys(ways), [...endReasons])
})

for (const [reason, way] of Object.entries(ways)) {
  test(`a connection ends for the reason ${reason}`, async (t) => {
    const app = way.app()
    // Some are reported; what is asked here is the end.
    for (const event of ['error', 'remoteError', 'reject'] as const) app.on(event, () => {})
    const closed = nextEvent(app, 'close')
    const server = await serve(t, app, way.options)
    await way.client?.(server.port, t, app)
    const [ctx, end] = await closed
    t.like(end, { reason, ...way.end } as ConnectionEnd)
    t.is(typeof end.step, 'string')
    t.true(ctx.isClosed)
  })
}

for (const [what, destroy] of Object.entries({
  'ctx.stream': ({ stream }: ConnectionContext): void => void stream.destroy(),
  'ctx.socket': ({ socket }: ConnectionContext): void => void socket!.destroy(),
  'ctx.transport': ({ transport }: ConnectionContext): void => void transport!.destroy(),
})) {
  for (const transport of networks) {
    test(`a connection whose ${what} the application destroys is not said to end by the other side, over ${transport}`, async (t) => {
      for (const isSilent of [false, true]) {
        const app = new Cio().useConnection(async (ctx) => {
          if (!isSilent) await once(ctx.stream.resume(), 'data')
          destroy(ctx)
        })
        app.on('remoteError', () => {})
        const server = await serve(t, app, transport === 'tcp' ? {} : identity('server'))
        const closed = nextEvent(app, 'close')
        const { port } = server
        const client =
          transport === 'tcp'
            ? await dial(t, server)
            : connectTls({ port, rejectUnauthorized: false }).on('error', () => {})
        client.resume().write('hello')
        const [, end] = await closed
        t.like(end, { reason: 'served', by: 'local', code: undefined })
        client.destroy()
      }
    })
  }
}

test('a client that destroys its stream is not said to be ended by its server', async (t) => {
  const server = await serve(t, waiting())
  const app = new Cio()
  const disconnected = nextEvent(app, 'disconnect')
  const ctx = await app.connect({ port: server.port, host: '127.0.0.1' })
  ctx.stream.destroy()
  const [, , end] = await disconnected
  t.like(end, { reason: 'served', by: 'local' })
})

type LinesContext = ConnectionContext & MessagesContext<string>

/** Uses of a connection after the application has destroyed its stream, in the same turn. */
const usesAfterDestroy: Record<string, (ctx: LinesContext) => unknown> = {
  each: (ctx) => ctx.messages.each(() => void ctx.stream.destroy()),
  'a loop': async (ctx) => {
    for await (const _ of ctx.messages) ctx.stream.destroy()
  },
  send: (ctx) => ctx.messages.each(() => (ctx.stream.destroy(), ctx.messages.send('late'))),
  sendMany: (ctx) =>
    ctx.messages.each(() => (ctx.stream.destroy(), ctx.messages.sendMany(['late']))),
  end: (ctx) => ctx.messages.each(() => (ctx.stream.destroy(), ctx.messages.end())),
  'a reset': (ctx) => ctx.messages.each(() => void ctx.socket!.resetAndDestroy()),
}

for (const [what, use] of Object.entries(usesAfterDestroy)) {
  test(`an application that destroys its stream, and then meets ${what}, has ended the connection itself`, async (t) => {
    const app = new Cio().useConnection(lines()).useConnection((ctx) => use(ctx))
    for (const event of ['error', 'remoteError'] as const) {
      app.on(event, (error: Error) => t.fail(`${event}: ${error.message}`))
    }
    const server = await serve(t, app)
    const closed = nextEvent(app, 'close')
    const client = await dial(t, server)
    client.on('error', () => {})
    client.resume().write('one\ntwo\n')
    t.like((await closed)[1], { reason: 'served', by: 'local', code: undefined })
  })
}

test('the same error of another connection is not hidden by the end of this one', async (t) => {
  const other = await serve(t, new Cio())
  const app = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    const upstream = await new Cio().useClient(lines()).connect(other.port)
    await ctx.messages.next()
    await upstream.close()
    ctx.stream.destroy()
    await upstream.messages.send('late')
  })
  const reported = nextEvent(app, 'remoteError')
  const server = await serve(t, app)
  const client = await dial(t, server)
  client.resume().write('one\n')
  t.like((await reported)[0], { code: 'ERR_CIO_CLOSED' })
})

type Open = (t: ExecutionContext, port: number) => Promise<void>

const carrying: Record<string, (inner: Cio) => Cio> = {
  multiplex: (inner) => new Cio().useConnection(multiplex(inner)),
  websocket: (inner) => new Cio().useConnection(websocket(inner)),
}
const carriers: Record<string, Open> = {
  multiplex: async (t, port) => {
    const client = await new Cio().useClient(multiplex(new Cio())).connect(port)
    t.teardown(() => client.close({ timeout: 0 }))
    const stream = await client.mux.open('x')
    stream.on('error', () => {}).write('hello\n')
    await once(stream, 'data')
  },
  websocket: async (t, port) => {
    const client = new WebSocket(`ws://127.0.0.1:${port}`).on('error', () => {})
    t.teardown(() => client.terminate())
    await once(client, 'open')
    client.send('hello\n')
    await once(client, 'message')
  },
}

for (const [what, destroy] of Object.entries({
  'ctx.stream.destroy()': ({ stream }: ConnectionContext): void => void stream.destroy(),
  'ctx.socket.destroy()': ({ socket }: ConnectionContext): void => void socket!.destroy(),
  'ctx.destroy()': (ctx: ConnectionContext): void => ctx.destroy(),
  'ctx.destroy(error)': (ctx: ConnectionContext): void => ctx.destroy(new Error('mine')),
})) {
  for (const [kind, open] of Object.entries(carriers)) {
    test(`a stream of ${kind} whose carrier the application ends by ${what} is not said to end by the other side`, async (t) => {
      const inner = new Cio().useConnection(lines()).useConnection(async (ctx) => {
        for await (const line of ctx.messages) await ctx.messages.send(line)
      })
      for (const event of ['error', 'remoteError'] as const) {
        inner.on(event, (error: Error) => t.fail(`${event}: ${error.message}`))
      }
      const app = carrying[kind]!(inner)
      app.on('error', () => {})
      const connected = nextEvent(app, 'connection')
      const closed = nextEvent(inner, 'close')
      const server = await serve(t, app)
      await open(t, server.port)
      destroy((await connected)[0])
      t.like((await closed)[1], { by: 'local', code: undefined, error: undefined })
    })
  }
}

test('a stream of multiplex ends for the same reason as its carrier', async (t) => {
  const inner = waiting()
  inner.on('remoteError', () => {})
  const app = new Cio().useConnection(timeout({ idle: 50 })).useConnection(multiplex(inner))
  app.on('remoteError', () => {})
  const closed = nextEvent(inner, 'close')
  const server = await serve(t, app)
  const client = await new Cio().useClient(multiplex(new Cio())).connect(server.port)
  t.teardown(() => client.close({ timeout: 0 }))
  const stream = await client.mux.open('x')
  stream.on('error', () => {})
  t.like((await closed)[1], { reason: 'idle', by: 'local', code: 'ERR_CIO_CLOSED' })
})

// What an open port sees all day

for (const transport of networks) {
  test(`a client that says nothing and goes is no event but close, over ${transport}`, async (t) => {
    const app = reading()
    for (const event of ['error', 'remoteError', 'reject'] as const) {
      app.on(event, (error: Error) => t.fail(`${event}: ${error.message}`))
    }
    const server = await serve(t, app, transport === 'tcp' ? {} : identity('server'))
    for (const how of ['end', 'resetAndDestroy', 'destroy'] as const) {
      const closed = nextEvent(app, 'close')
      const client = await dial(t, server)
      client.resume()
      client[how]()
      const [, end] = await closed
      t.like(end, { reason: 'nothing_said', by: 'remote' })
      if (end.error) t.is(end.code, 'ERR_CIO_NOTHING_SAID')
    }
  })
}

test('a health check of HAProxy’s that sends a PROXY header and goes is no event but close', async (t) => {
  const app = reading().useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
  for (const event of ['error', 'remoteError', 'reject'] as const) {
    app.on(event, (error: Error) => t.fail(`${event}: ${error.message}`))
  }
  const server = await serve(t, app, identity('server'))
  const local = Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex')
  for (const header of [local, undefined]) {
    const closed = nextEvent(app, 'close')
    const client = await dial(t, server)
    client.resume()
    client.end(header ?? '')
    t.like((await closed)[1], { reason: 'nothing_said', code: 'ERR_CIO_NOTHING_SAID' })
  }
})

const localHeaders = {
  'version 1': Buffer.from('PROXY TCP4 127.0.0.1 127.0.0.1 40000 80\r\n'),
  'version 1, unknown': Buffer.from('PROXY UNKNOWN\r\n'),
  'version 2, LOCAL': Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex'),
}

for (const transport of ['tcp', 'TLS 1.3'] as const) {
  for (const [version, header] of Object.entries(localHeaders)) {
    test(`a check with a PROXY header of ${version} that ends or resets is quiet, over ${transport}`, async (t) => {
      const app = reading()
        .useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
        .useConnection(
          defineMiddleware<ConnectionContext>(
            { name: 'note', after: 'proxyProtocol', before: 'secure' },
            async (_ctx, next) => {
              headerRead.resolve()
              await next()
            },
          ),
        )
      let headerRead = deferred()
      for (const event of ['error', 'remoteError', 'reject'] as const) {
        app.on(event, (error: Error) => t.fail(`${event}: ${error.message}`))
      }
      const server = await serve(t, app, transport === 'tcp' ? {} : identity('server'))
      for (const how of ['end', 'resetAndDestroy'] as const) {
        headerRead = deferred()
        const closed = nextEvent(app, 'close')
        const client = await dial(t, server)
        client.resume().write(header)
        await headerRead.promise
        client[how]()
        t.like((await closed)[1], { reason: 'nothing_said', by: 'remote' })
      }
    })
  }
}

test('a client is said how its connection ended', async (t) => {
  const server = await serve(t, reading())
  const app = new Cio()
  const over = once(app, 'disconnect')
  const client = await app.connect({ port: server.port, host: '127.0.0.1' })
  await client.close()
  t.like((await over)[2], { reason: 'drained', by: 'local', step: 'secure', code: undefined })

  const left = once(app, 'disconnect')
  const opened = deferred<{ destroy(): void }>()
  server.app.once('connection', (ctx) => opened.resolve(ctx))
  await app.connect({ port: server.port, host: '127.0.0.1' })
  ;(await opened.promise).destroy()
  t.like((await left)[2], { reason: 'remote_ended', by: 'remote' })
})

// Where a refusal was registered

/** The file and line of this call. */
function here(): string {
  const [, line] = /connection-end\.test\.ts:(\d+)/.exec(new Error().stack!.split('\n')[2]!)!
  return `test/connection-end.test.ts:${line}`
}

/** The refusals that an app reports, by `reject` or `remoteError`, and by `close`. */
async function refusals(
  t: ExecutionContext,
  app: Cio,
  options: ListenOptions = {},
): Promise<Refusal[]> {
  const told: (Refusal | undefined)[] = []
  for (const event of ['reject', 'remoteError'] as const) {
    app.on(event, (error: Error) => told.push((error as CioError).refusal))
  }
  const closed = nextEvent(app, 'close')
  const server = await serve(t, app, options)
  if (options.key === undefined) {
    // The first one reaches the limit, and the second one exceeds it.
    await says(server.port, t)
    await says(server.port, t)
  } else connectTls({ port: server.port, rejectUnauthorized: false }).on('error', () => {})
  const [, end] = await closed
  return [...told, end.refusal].map((one) => one!)
}

test('a refusal has the file and line that registered its middleware', async (t) => {
  const apps: Record<string, [Cio, string]> = {
    limit: [waiting().useConnection(limit({ connections: 1 })), here()],
    route: [new Cio().useConnection(route([])), here()],
    allowList: [new Cio().useConnection(mayBringTls).useConnection(allowList(['alice'])), here()],
  }
  for (const [step, [app, at]] of Object.entries(apps)) {
    for (const refusal of await refusals(t, app)) t.like(refusal, { step, at })
  }
  const secure = await refusals(t, reading(), { ...identity('server'), requestCert: true })
  for (const refusal of secure) t.like(refusal, { step: 'secure', at: 'cio' })
})

test('a middleware of a third party refuses with a word of its own, and Cio adds where', async (t) => {
  const refusal = Object.freeze({ step: 'quota', why: 'quota' })
  const quota = (): never => {
    throw new CioError('ERR_TEST_QUOTA', 'used up', { fault: 'remote', end: 'over_limit', refusal })
  }
  const [app, at] = [new Cio().useConnection(quota), here()]
  const told = await refusals(t, app)
  t.true(told.length >= 2)
  for (const one of told) t.deepEqual(one, { step: 'quota', why: 'quota', at })
  t.deepEqual(refusal, { step: 'quota', why: 'quota' })
})

test('a refusal passes through the middleware outside it with the place of the one that refused', async (t) => {
  const app = new Cio().useConnection(async function outer(_ctx, next) {
    await next()
  })
  const [inner, at] = [app.useConnection(route([]), { before: [] }), here()]
  for (const refusal of await refusals(t, inner)) t.is(refusal.at, at)
})

test('a peer that a list does not admit any more is refused with the place of the list', async (t) => {
  const list = allowList(['alice'], { revoked: 'destroy' })
  const [app, at] = [reading(new Cio().useConnection(list)), here()]
  const rejected = nextEvent(app, 'reject')
  const closed = nextEvent(app, 'close')
  const server = await serve(t, app, { ...identity('server'), ca: certificate('root.crt') })
  const secured = once(app, 'secure')
  const client = connectTls({
    port: server.port,
    ...loaded('alice'),
    rejectUnauthorized: false,
  })
  client.on('error', () => {}).write('hello')
  await secured
  await once(client, 'data')
  await list.update(['bob'])
  t.is((await rejected)[0].refusal?.at, at)
  t.like((await closed)[1].refusal, { step: 'allowList', why: 'not_listed', at })
})

const untrusted = {
  selfSigned: { why: 'untrusted', verdict: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
  expired: { why: 'expired', verdict: 'CERT_HAS_EXPIRED' },
}

for (const [name, expected] of Object.entries(untrusted)) {
  test(`what a certificate that is not trusted (${name}) claims is in the refusal, unverified`, async (t) => {
    const app = reading()
    app.on('reject', () => {})
    const closed = nextEvent(app, 'close')
    const server = await serve(t, app, { ...identity('server'), ca: certificate('root.crt') })
    const client = connectTls({ port: server.port, ...loaded(name), rejectUnauthorized: false })
    client.on('error', () => {})
    const [, { refusal }] = await closed
    const peer = { name: 'alice', verified: false }
    t.deepEqual(refusal, { step: 'secure', at: 'cio', peer, ...expected })
  })
}

// What is known of a handshake that failed

/** A failed handshake of a server, as its `close` has it. */
async function failure(
  t: ExecutionContext,
  client: (port: number) => unknown,
  options: ListenOptions = {},
): Promise<HandshakeFailure | undefined> {
  const app = reading()
  app.on('remoteError', () => {})
  const closed = nextEvent(app, 'close')
  const server = await serve(t, app, { ...identity('server'), ...options })
  await client(server.port)
  return (await closed)[1].handshake
}

/** OpenSSL's own client, which sends alerts, as Node's does not. */
function openssl(t: ExecutionContext, port: number, ...more: string[]): void {
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...more], {
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  t.teardown(() => child.kill())
}

test('an alert that a client sent is received, with the name that it asked for', async (t) => {
  const known = await failure(t, (port) =>
    openssl(t, port, '-verify_return_error', '-servername', 'Gateway.example.com'),
  )
  t.like(known, { alert: 'received' })
  t.regex(known!.reason!, /alert unknown ca/)
  t.is(known!.serverName, 'gateway.example.com')
})

test('an alert to a client that speaks no common version is sent', async (t) => {
  const known = await failure(
    t,
    (port) => openssl(t, port, '-tls1_2', '-servername', 'gateway.example.com'),
    { minVersion: 'TLSv1.3' },
  )
  t.like(known, { alert: 'sent', reason: 'unsupported protocol' })
})

test('a name that chose a certificate is known also of a handshake that is not finished', async (t) => {
  const known = await failure(
    t,
    async (port) => {
      const client = await dial(t, { port })
      client.resume().write(ofOpenssl)
    },
    { sni: { 'www.example.com': identity('server') }, handshakeTimeout: 500 },
  )
  t.deepEqual(known, { serverName: 'www.example.com', reason: undefined, alert: undefined })
})

// The same for clients

/** A way in which the connection of a client ends: what the server does, and what the client. */
interface ClientWay {
  readonly server: () => Cio
  readonly client?: () => Cio
  readonly once?: (ctx: ClientContext) => unknown
  readonly end: Partial<ConnectionEnd>
}

const greeting = (): Cio =>
  new Cio().useConnection(async (ctx) => {
    ctx.stream.write('hello\n')
    for await (const _ of ctx);
  })

const clientWays: Partial<Record<EndReason, ClientWay>> = {
  remote_ended: {
    server: () => new Cio().useConnection((ctx) => void ctx.stream.end('bye')),
    end: { by: 'remote', code: undefined },
  },
  drained: { server: greeting, once: (ctx) => ctx.close(), end: { by: 'local' } },
  forced: { server: greeting, once: (ctx) => ctx.destroy(), end: { by: 'local' } },
  remote_reset: {
    server: () =>
      new Cio().useConnection(async ({ stream, socket }) => {
        await once(stream, 'data')
        socket!.resetAndDestroy()
      }),
    once: (ctx) => ctx.stream.write('hello'),
    end: { by: 'remote', code: 'ECONNRESET' },
  },
  idle: {
    server: greeting,
    client: () => new Cio().useClient(timeout({ idle: 20 })),
    end: { by: 'local', code: 'ERR_CIO_IDLE' },
  },
  too_old: {
    server: greeting,
    client: () => new Cio().useClient(timeout({ lifetime: 20 })),
    end: { by: 'local', code: 'ERR_CIO_LIFETIME' },
  },
  local_fault: {
    server: greeting,
    once: (ctx) => ctx.destroy(new TypeError('mine')),
    end: { by: 'local', code: undefined },
  },
  remote_fault: {
    server: greeting,
    once: (ctx) => ctx.destroy(new CioError('ERR_TEST_RUDE', 'rude', { fault: 'remote' })),
    end: { by: 'remote', code: 'ERR_TEST_RUDE' },
  },
  bad_data: {
    server: greeting,
    client: () => new Cio().useClient(lines({ maxLength: 3 })),
    once: (ctx) =>
      (ctx as ClientContext & { messages: AsyncIterator<string> }).messages
        .next()
        .catch((error: Error) => ctx.destroy(error)),
    end: { by: 'remote', code: 'ERR_CIO_MESSAGE_TOO_LONG' },
  },
}

for (const [reason, way] of Object.entries(clientWays)) {
  test(`the connection of a client ends for the reason ${reason}`, async (t) => {
    const serving = way.server()
    for (const event of ['error', 'remoteError'] as const) serving.on(event, () => {})
    const server = await serve(t, serving)
    const app: Cio = way.client?.() ?? new Cio()
    for (const event of ['error', 'remoteError'] as const) app.on(event, () => {})
    const over = nextEvent(app, 'disconnect')
    const client = await app.connect({ port: server.port, host: '127.0.0.1' })
    await way.once?.(client)
    const [error, ctx, end] = await over
    t.like(end, { reason, ...way.end } as ConnectionEnd)
    if (error) t.is(end.error, error)
    t.is(ctx, client)
  })
}
