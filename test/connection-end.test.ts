import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect as connectTls } from 'node:tls'
import {
  Cio,
  CioError,
  type ConnectionContext,
  type ConnectionEnd,
  type EndReason,
  type ListenOptions,
  allowList,
  defineMiddleware,
  lines,
  limit,
  forward,
  proxyProtocol,
  route,
  timeout,
} from '../src/index.ts'
import { describeEnd, endReasons, reasonOf } from '../src/connection-end.ts'
import { identity } from './support/certificates.ts'
import { dial, serve } from './support/serve.ts'
import { mayBringTls } from './support/tls.ts'
import { deferred, networks, nextEvent } from './support/transports.ts'

const page = await readFile(new URL('../docs/errors.md', import.meta.url), 'utf8')
const codes = [...page.matchAll(/^\| `(ERR_CIO_\w+)` +\| (\w+)/gm)].map(
  ([, code, fault]) => [code!, fault!] as const,
)

test('every code of the page of errors stands for a reason of the closed set', (t) => {
  t.true(codes.length > 50)
  for (const [code, fault] of codes) {
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
  })
})

/** A way in which a connection ends: an app, and what its client does. */
interface Way {
  readonly app: () => Cio
  readonly options?: ListenOptions
  readonly client?: (port: number, t: ExecutionContext, app: Cio) => unknown
  readonly end: Partial<ConnectionEnd>
}

const reading = (): Cio =>
  new Cio().useConnection(async (ctx) => {
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

const ways: Record<EndReason, Way | undefined> = {
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
  // In test/middleware/certificate-expiry.test.ts, with a certificate that expires.
  expired: undefined,
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
    end: { by: 'remote', code: 'ERR_CIO_HANDSHAKE' },
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
    app: () => reading().useConnection(proxyProtocol({ trusted: ['127.0.0.1'] })),
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

for (const [reason, way] of Object.entries(ways)) {
  if (!way) continue
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
