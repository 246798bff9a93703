import test, { type ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type Server, type Socket, createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { createServer as createTlsServer } from 'node:tls'
import {
  Cio,
  type CioError,
  type ClientContext,
  type ConnectOptions,
  type Messages,
  type ReconnectOptions,
  allowList,
  json,
  lines,
  reconnect,
} from '../../src/index.ts'
import { RetryBudget, openSocket } from '../../src/kit.ts'
import { retryContract } from '../contracts/retry.ts'
import { contents, identity, loaded, path } from '../support/certificates.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, listenBare, serve } from '../support/serve.ts'
import { deferred, nextEvent, socketPath } from '../support/transports.ts'

const host = '127.0.0.1'

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

/** A delay longer than the test: it has to be aborted, or never to begin. */
const forever = { delay: 2 ** 30, maxDelay: Infinity, jitter: 0 }

retryContract({
  name: 'reconnect',
  heals: () => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }),
  register: (app, options, attempt) => {
    app.useClient(reconnect(options)).useClient(
      (_ctx, next) => {
        attempt()
        return next()
      },
      { name: 'attempt', after: 'reconnect', before: 'connect' },
    )
  },
  listen: (app, listener) => void app.on('reconnect', listener),
  run: async (t, app, signal) => {
    const port = await listenBare(t, createServer())
    closeAfter(t, app)
    return app.connect({ host, port, ...(signal && { signal }) })
  },
})

/** A bare server that exposes its connections, and can destroy them. */
interface Bare {
  readonly port: number
  readonly server: Server
  /** The next connection. */
  readonly accepted: () => Promise<Socket>
}

async function bare(t: ExecutionContext, server: Server = createServer()): Promise<Bare> {
  const sockets: Socket[] = []
  const waiting: ((socket: Socket) => void)[] = []
  server.on('connection', (socket) => {
    socket.on('error', () => {})
    socket.resume()
    t.teardown(() => socket.destroy())
    const wake = waiting.shift()
    if (wake) wake(socket)
    else sockets.push(socket)
  })
  const port = await listenBare(t, server, await ownPort())
  const accepted = (): Promise<Socket> => {
    const socket = sockets.shift()
    return socket ? Promise.resolve(socket) : new Promise((resolve) => waiting.push(resolve))
  }
  return { port, server, accepted }
}

/** A client over lines that reconnects, and is closed with the test. */
function client(t: ExecutionContext, options: ReconnectOptions = {}) {
  const app = new Cio().useClient(reconnect({ delay: 1, ...options })).useClient(lines())
  closeAfter(t, app)
  return app
}

const losses = {
  'ended in an orderly way': (socket: Socket) => socket.end(),
  reset: (socket: Socket) => socket.resetAndDestroy(),
}

for (const [how, lose] of Object.entries(losses)) {
  test(`a connection that is ${how} is followed by another, on the same context`, async (t) => {
    const { port, accepted } = await bare(t)
    const app = client(t)
    const ctx = await app.connect({ host, port })
    const [stream, socket, messages] = [ctx.stream, ctx.socket, ctx.messages]
    const told = nextEvent(app, 'reconnect')
    const back = nextEvent(app, 'connect')
    lose(await accepted())
    const [{ retry, error }] = await told
    t.is(retry, 1)
    t.is(codeOf(error), how === 'reset' ? 'ECONNRESET' : undefined)
    t.is((await back)[0], ctx)
    t.not(ctx.stream, stream)
    t.not(ctx.socket, socket)
    t.not(ctx.messages, messages)
    t.is(ctx.broken, undefined)
    t.true(ctx.connected)

    const far = await accepted()
    await ctx.messages.send('hello')
    t.is(String(await once(far, 'data')), 'hello\n')
    await ctx.close()
    t.is(ctx.broken, undefined)
  })
}

test('connect() resolves at the first success, however many attempts it takes', async (t) => {
  const path = socketPath(t)
  const app = client(t)
  const server = createServer()
  t.teardown(() => server.close())
  app.on('reconnect', ({ retry, error }) => {
    t.is(codeOf(error), 'ENOENT')
    if (retry === 4) server.listen(path)
  })
  const ctx = await app.connect(path)
  t.true(ctx.connected)
})

test('connect, disconnect and reconnect are emitted in order', async (t) => {
  const { port, accepted, server } = await bare(t)
  const app = client(t, { retries: 1 })
  const told: string[] = []
  app.on('connect', () => told.push('connect'))
  app.on('disconnect', (error) => told.push(`disconnect ${codeOf(error)}`))
  app.on('reconnect', ({ retry }) => told.push(`reconnect ${retry}`))
  app.on('remoteError', (error) => told.push(`gave up ${codeOf(error)}`))
  const ctx = await app.connect({ host, port })
  const back = nextEvent(app, 'connect')
  ;(await accepted()).resetAndDestroy()
  await back
  server.close()
  ;(await accepted()).end()
  await ctx.closed
  t.deepEqual(told, [
    'connect',
    'disconnect ECONNRESET',
    'reconnect 1',
    'connect',
    'disconnect undefined',
  ])
})

test('when the retries of a connected client are used up, remoteError reports why', async (t) => {
  const { port, accepted, server } = await bare(t)
  const app = client(t, { retries: 2, stableAfter: 0 })
  const ctx = await app.connect({ host, port })
  const told = nextEvent(app, 'remoteError')
  app.on('error', () => t.fail())
  server.close()
  ;(await accepted()).resetAndDestroy()
  await ctx.closed
  const [error] = await told
  t.is(codeOf(error), 'ECONNREFUSED')
})

test('middleware inside runs on each connection, middleware outside once', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t)
  let [outside, inside, left] = [0, 0, 0]
  app
    .useClient((_ctx, next) => ((outside += 1), next()), { name: 'outside', before: 'reconnect' })
    .useClient(async function inner(_ctx, next) {
      inside += 1
      try {
        await next()
      } finally {
        left += 1
      }
    })
  await app.connect({ host, port })
  for (let loss = 1; loss <= 3; loss++) {
    const back = nextEvent(app, 'connect')
    ;(await accepted()).end()
    await back
    t.deepEqual([outside, inside, left], [1, loss + 1, loss])
  }
  t.deepEqual(app.pipelines.client.names.slice(0, 4), ['outside', 'reconnect', 'certs', 'connect'])
})

test('the retry count grows until a connection has been stable', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, { stableAfter: 2 ** 30 })
  const counted: number[] = []
  app.on('reconnect', ({ retry }) => counted.push(retry))
  await app.connect({ host, port })
  for (let loss = 1; loss <= 3; loss++) {
    const back = nextEvent(app, 'connect')
    ;(await accepted()).end()
    await back
  }
  t.deepEqual(counted, [1, 2, 3])
})

test('the retry count starts again after a stable connection', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, { stableAfter: 20 })
  const counted: number[] = []
  app.on('reconnect', ({ retry }) => counted.push(retry))
  await app.connect({ host, port })
  for (const lasts of [0, 0, 40, 0]) {
    const back = nextEvent(app, 'connect')
    const socket = await accepted()
    // Only time can pass a duration.
    if (lasts > 0) await new Promise((resolve) => setTimeout(resolve, lasts))
    socket.end()
    await back
  }
  t.is(counted[2], 1)
})

test('a handler that ends before the server ends the client', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, forever)
  app.on('reconnect', () => t.fail())
  app.useClient(async ({ messages }) => {
    await messages.next()
  })
  const done = app.connect({ host, port })
  ;(await accepted()).write('enough\n')
  const ctx = await done
  await ctx.closed
  t.is(ctx.broken, undefined)
})

test('a handler that reads to the end runs again on the next connection', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, { retries: 3 })
  const read: string[] = []
  app.useClient(async ({ messages }) => {
    for await (const line of messages) read.push(line)
  })
  const done = app.connect({ host, port })
  for (const word of ['one', 'two', 'three', 'four']) (await accepted()).end(`${word}\n`)
  await done
  t.deepEqual(read, ['one', 'two', 'three', 'four'])
})

test('a connection that a watcher ends is followed by another, also under a handler that reads', async (t) => {
  const { port, accepted } = await bare(t)
  const running = deferred<ClientContext>()
  const app = new Cio().useClient(reconnect({ delay: 1 })).useClient(async (ctx) => {
    running.resolve(ctx)
    for await (const _ of ctx);
  })
  closeAfter(t, app)
  const done = app.connect({ host, port })
  await accepted()
  const told = nextEvent(app, 'reconnect')
  ;(await running.promise).disconnect()
  const [{ error }] = await told
  t.is(codeOf(error), 'ERR_STREAM_PREMATURE_CLOSE')
  await accepted()
  const refused = t.throwsAsync(done, { code: 'ERR_CIO_CLOSED' })
  await app.close()
  await refused
})

test('the event reports why a connection was lost, not how a handler noticed it', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t).useClient(async ({ messages }) => {
    for (;;) await messages.send('x'.repeat(100_000))
  })
  const refused = t.throwsAsync(app.connect({ host, port }), { code: 'ERR_CIO_CLOSED' })
  const told = nextEvent(app, 'reconnect')
  const far = await accepted()
  // The handler runs; before that, the reset would be a failed connect.
  await once(far, 'data')
  far.resetAndDestroy()
  t.is(codeOf((await told)[0].error), 'ECONNRESET')
  await app.close()
  await refused
})

test('close() while it reconnects ends it at once, without an error', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t)
  app.on('error', () => t.fail())
  app.on('remoteError', () => t.fail())
  const asked = deferred()
  let times = 0
  const ctx = await app.connect({
    host,
    port,
    createConnection: (options, signal) => {
      times += 1
      if (times === 1) return openSocket(options, signal)
      asked.resolve()
      return new Promise(() => {})
    },
  })
  ;(await accepted()).end()
  await asked.promise
  t.deepEqual(await ctx.close(), { forced: 0 })
  t.is(ctx.broken, undefined)
})

test('when decides, also after an orderly end', async (t) => {
  const { port, accepted } = await bare(t)
  const asked: unknown[] = []
  const app = client(t, {
    when: async (error, ctx) => {
      asked.push([codeOf(error), ctx.id])
      return error !== undefined
    },
  })
  const ctx = await app.connect({ host, port })
  const back = nextEvent(app, 'connect')
  ;(await accepted()).resetAndDestroy()
  await back
  ;(await accepted()).end()
  await ctx.closed
  t.deepEqual(asked, [
    ['ECONNRESET', ctx.id],
    [undefined, ctx.id],
  ])
})

test('an error of a handler ends it at once, even with a network error code', async (t) => {
  const { port } = await bare(t)
  for (const code of ['ECONNREFUSED', 'ECONNRESET', 'ERR_OWN']) {
    const app = client(t, forever)
    const mine = Object.assign(new Error('a database'), { code })
    app.on('reconnect', () => t.fail())
    app.useClient(() => {
      throw mine
    })
    t.is(await t.throwsAsync(app.connect({ host, port })), mine)
  }
})

test('invalid input for the codec is followed by another connection', async (t) => {
  const { port, accepted } = await bare(t)
  const app = new Cio().useClient(reconnect({ delay: 1 })).useClient(json())
  closeAfter(t, app)
  app.useClient(async ({ messages }) => {
    for await (const message of messages) t.is(message, 1)
  })
  const told = nextEvent(app, 'reconnect')
  void app.connect({ host, port }).catch(() => {})
  ;(await accepted()).write('1\n{\n')
  const [{ error }] = await told
  t.is((error as CioError).code, 'ERR_CIO_SYNTAX')
  await accepted()
})

test('a server whose certificate we reject is not retried', async (t) => {
  const { port } = await bare(t, createTlsServer(loaded('server')))
  const app = client(t, forever)
  app.on('reconnect', () => t.fail())
  await t.throwsAsync(app.connect({ host: 'localhost', family: 4, port, tls: true }), {
    code: 'ERR_CIO_REJECTED',
  })
})

test('a server that allowList rejects is not retried', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((_ctx, next) => next()),
    identity('server'),
  )
  const app = client(t, forever).useClient(allowList(['second']))
  app.on('reconnect', () => t.fail())
  const options = { host: 'localhost', family: 4, port: server.port, ca: path('root.crt') }
  await t.throwsAsync(app.connect(options), { code: 'ERR_CIO_REJECTED' })
})

test('the context of an ended client rejects with an error', async (t) => {
  const { port } = await bare(t)
  const app = client(t, { sendTimeout: 60_000 })
  const ctx = await app.connect({ host, port })
  await ctx.close()
  await t.throwsAsync(ctx.messages.send('late'), { code: 'ERR_CIO_CLOSED' })
  t.deepEqual(await ctx.messages.next(), { done: true, value: undefined })
})

const coded = (code: unknown, more: object = {}): Error =>
  Object.assign(new Error(`it failed by ${String(code)}`), { code, ...more })

for (const [what, error, isRetried] of [
  ['a full backlog of a Unix socket', coded('EAGAIN', { syscall: 'connect' }), true],
  ['a name server that fails (adhdtech/DRP#120)', coded('ESERVFAIL', { syscall: 'queryA' }), true],
  ['a code that nobody has heard of', coded('ESOMETHING'), true],
  ['a number for a code', coded(5), true],
  ['no code', new Error('the tunnel is not there'), true],
  ['a DOMException of a deadline', new DOMException('too late', 'TimeoutError'), true],
  ['a DOMException of an abort', new DOMException('enough', 'AbortError'), false],
  ['a mistake in a program', new TypeError('it is not a function'), false],
  ['a permission that is missing', coded('EACCES', { syscall: 'connect' }), false],
  ['a file that is not there', coded('ENOENT', { syscall: 'open' }), false],
  ['a path that is too long', coded('ENAMETOOLONG', { syscall: 'connect' }), false],
] as const) {
  for (const targets of [undefined, [{ port: 1 }, { port: 2 }]]) {
    const many = targets ? ', by each of two targets' : ''
    test(`${what} is ${isRetried ? '' : 'not '}retried${many}`, async (t) => {
      const { port } = await bare(t)
      let tries = 0
      const app = client(t, { retries: 3 })
      const connecting = app.connect({
        host,
        port,
        ...(targets && { targets }),
        createConnection: (options, signal) => {
          tries += 1
          if (tries <= (targets?.length ?? 1)) throw error
          return openSocket({ ...options, port }, signal)
        },
      })
      if (isRetried) t.true((await connecting).connected)
      else if (targets) await t.throwsAsync(connecting, { code: 'ERR_CIO_CONNECT' })
      else t.is(await connecting.catch((thrown: unknown) => thrown), error)
    })
  }
}

test('a connection that broke with a DOMException is followed by another', async (t) => {
  const { port } = await bare(t)
  const made: Socket[] = []
  const app = client(t)
  await app.connect({
    host,
    port,
    createConnection: async (options, signal) => {
      made.push(await openSocket(options, signal))
      return made.at(-1)!
    },
  })
  const back = nextEvent(app, 'connect')
  made[0]!.destroy(new DOMException('too late', 'TimeoutError'))
  await back
  t.is(made.length, 2)
})

/** Targets of a TLS client: the server, and an attacker in its place. */
async function places(t: ExecutionContext) {
  const good = await serve(
    t,
    new Cio().useConnection((_ctx, next) => next()),
    identity('server'),
  )
  const selfSigned = await bare(t, createTlsServer(loaded('selfSigned')))
  // A plaintext fatal alert, which any attacker on the network can send: `unknown_ca`.
  const alert = await bare(
    t,
    createServer((socket) =>
      socket.once('data', () => socket.end(Buffer.from('15030100020230', 'hex'))),
    ),
  )
  return { good, selfSigned, alert }
}

for (const [stranger, event, code] of [
  ['selfSigned', 'reject', 'ERR_CIO_REJECTED'],
  ['alert', 'remoteError', 'ERR_CIO_HANDSHAKE'],
] as const) {
  for (const reads of [false, true]) {
    const how = reads ? ', whose handler reads to the end' : ''
    test(`an attacker (${stranger}) does not end a client that was connected before${how}`, async (t) => {
      const all = await places(t)
      let port = all.good.port
      const app = client(t, { delay: 1, maxDelay: 7, jitter: 0, factor: 1 })
      const secured: unknown[] = []
      app.on('secure', () => secured.push(port))
      if (reads) {
        app.useClient(async ({ messages }) => {
          for await (const line of messages) t.fail(line)
        })
      }
      const first = once(app, 'secure')
      const connecting = app.connect({
        host: 'localhost',
        ca: path('root.crt'),
        createConnection: (options, signal) => openSocket({ ...options, host, port }, signal),
      })
      connecting.catch(() => {})
      await first
      if (!reads) await connecting

      port = all[stranger].port
      const told: [Error, ...unknown[]][] = []
      app.on(event, (...details: [Error, ...unknown[]]) => told.push(details))
      const delays: number[] = []
      const twice = deferred()
      app.on('reconnect', ({ delay, error }) => {
        if (codeOf(error) === code && delays.push(delay) === 2) twice.resolve()
      })
      all.good.connections.forEach((ctx) => ctx.destroy())
      await twice.promise
      const back = once(app, 'secure')
      port = all.good.port
      await back
      t.deepEqual(new Set(delays), new Set([7]))
      t.true(told.length >= 2)
      t.is(codeOf(told[0]![0]), code)
      t.deepEqual(secured, [port, port])
    })
  }

  test(`an attacker (${stranger}) ends a client that was never connected`, async (t) => {
    const all = await places(t)
    const app = client(t, forever)
    app.on('reconnect', () => t.fail())
    const { port } = all[stranger]
    const options = { host: 'localhost', family: 4, port, ca: path('root.crt') }
    await t.throwsAsync(app.connect(options), { code })
  })
}

/** An OpenSSL server, which rejects clients with an alert; Node's server only closes. */
async function strict(t: ExecutionContext, ...options: string[]): Promise<number> {
  const { key, cert } = identity('server')
  const own = ['-key', key, '-cert', cert, '-CAfile', path('root.crt')]
  const verify = ['-Verify', '1', '-verify_return_error', '-accept', '127.0.0.1:0']
  const child = spawn('openssl', ['s_server', ...own, ...verify, ...options], {
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  t.teardown(() => child.kill())
  for await (const line of createInterface(child.stdout)) {
    const [, port] = /^ACCEPT .*:(\d+)$/.exec(line) ?? []
    if (port !== undefined) return Number(port)
  }
  throw new Error('openssl s_server does not listen')
}

for (const version of ['tls1_2', 'tls1_3']) {
  for (const [what, own] of [
    ['a missing certificate', {}],
    ['a certificate of another CA', identity('otherCa')],
    ['an expired certificate', { key: path('expired.key'), cert: path('expired.crt') }],
  ] as const) {
    test(`a server that rejects ${what} is not retried (${version})`, async (t) => {
      const port = await strict(t, `-${version}`)
      const app = client(t, forever)
      app.on('reconnect', () => t.fail())
      app.on('remoteError', () => {})
      const gone = nextEvent(app, 'disconnect')
      const material = Object.fromEntries(
        Object.entries(own).map(([name, file]) => [name, readFileSync(file)]),
      )
      // Not with `certs`, which rejects an expired certificate before a server can.
      app.pipelines.client.disable('certs')
      const options = { host: 'localhost', family: 4, port, ca: contents('root.crt'), ...material }
      // In TLS 1.3 a client continues before the server has seen its certificate.
      const error = await app.connect(options).then(
        async (ctx) => {
          await ctx.closed
          return (await gone)[0]
        },
        ({ cause }: CioError) => cause,
      )
      t.regex(String(codeOf(error)), /ALERT/)
    })
  }
}

test('close() while it is offline ends it at once, without an error', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, forever)
  app.on('error', () => t.fail())
  app.on('remoteError', () => t.fail())
  const ctx = await app.connect({ host, port })
  const away = nextEvent(app, 'reconnect')
  ;(await accepted()).resetAndDestroy()
  await away
  t.deepEqual(await ctx.close(), { forced: 0 })
  t.is((ctx.signal.reason as CioError).code, 'ERR_CIO_CLOSED')
})

test('close() during a new handshake ends it at once', async (t) => {
  const server = createTlsServer(loaded('server'))
  const { port, accepted } = await bare(t, server)
  const app = client(t)
  app.on('error', () => t.fail())
  app.on('remoteError', () => t.fail())
  const ctx = await app.connect({ host: 'localhost', family: 4, port, ca: path('root.crt') })
  // From here on it accepts, and never answers the handshake.
  const mute = server.listeners('connection')
  server.removeAllListeners('connection')
  const asked = deferred()
  server.on('connection', (socket: Socket) => {
    t.teardown(() => socket.destroy())
    socket.once('data', () => asked.resolve())
  })
  t.true(mute.length > 0)
  ;(await accepted()).destroy()
  await asked.promise
  t.deepEqual(await ctx.close(), { forced: 0 })
})

test('destroy() by the application is not retried', async (t) => {
  const { port } = await bare(t)
  const app = client(t, forever)
  app.on('reconnect', () => t.fail())
  const reason = new Error('mine')
  const told = nextEvent(app, 'error')
  const ctx = await app.connect({ host, port })
  ctx.destroy(reason)
  await ctx.closed
  t.is((await told)[0], reason)
})

test('a signal that aborts later closes the client, in every state', async (t) => {
  const { port, accepted } = await bare(t)
  const controller = new AbortController()
  const app = client(t, forever)
  const ctx = await app.connect({ host, port, signal: controller.signal })
  const away = nextEvent(app, 'reconnect')
  ;(await accepted()).end()
  await away
  controller.abort()
  await ctx.closed
  t.pass()
})

test('an empty budget delays the retries of all clients that share it', async (t) => {
  // Enough for 3 retries, and nothing is refilled during the test.
  const budget = new RetryBudget({ ttl: 100_000, minPerSecond: 0.03, ratio: 0 })
  const tries = new Map<Cio, number>()
  const spent = deferred()
  const options: ConnectOptions = {
    createConnection: () => {
      throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
    },
  }
  const apps = [client(t, { budget, factor: 1 }), client(t, { budget, factor: 1 })]
  const ended = apps.map((app) => {
    // The event repeats with the same retry number.
    let last = 0
    let same = 0
    app.on('reconnect', ({ retry }) => {
      same = retry === last ? same + 1 : 0
      last = retry
      tries.set(app, retry - 1)
      if (same === 20) spent.resolve()
    })
    return t.throwsAsync(app.connect({ port: 1, ...options }), { code: 'ERR_CIO_CLOSED' })
  })
  await spent.promise
  t.is(
    [...tries.values()].reduce((sum, one) => sum + one),
    3,
  )
  await Promise.all(apps.map((app) => app.close()))
  await Promise.all(ended)
})

test('each success adds to the budget', async (t) => {
  const budget = new RetryBudget({ ttl: 100_000, minPerSecond: 0, ratio: 1 })
  const { port, accepted } = await bare(t)
  const app = client(t, { budget })
  await app.connect({ host, port })
  for (let loss = 1; loss <= 5; loss++) {
    const back = nextEvent(app, 'connect')
    t.is(budget.balance, 1)
    ;(await accepted()).end()
    await back
  }
})

test('send() while offline rejects at once, and so do sendMany() and end()', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, forever)
  const ctx = await app.connect({ host, port })
  const away = nextEvent(app, 'reconnect')
  ;(await accepted()).end()
  await away
  const closed = { code: 'ERR_CIO_CLOSED' }
  const error = await t.throwsAsync<CioError>(ctx.messages.send('lost'), closed)
  t.is(error.fault, 'remote')
  await t.throwsAsync(ctx.messages.sendMany(['lost']), closed)
  await t.throwsAsync(ctx.messages.end(), closed)
  t.throws(() => ctx.stream, { code: 'ERR_CIO_NOT_CONNECTED' })
  // The rejection is not awaited, and the process survives.
  void ctx.messages.send('lost')
})

test('between a loss and the retry, too, send() rejects and throws nothing else', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, forever)
  const ctx = await app.connect({ host, port })
  const sent: Promise<unknown>[] = []
  const sendAgain = (): void => {
    sent.push(
      ctx.messages.send('x').then(
        () => 'sent',
        ({ code }: CioError) => code,
      ),
    )
  }
  app.on('disconnect', sendAgain)
  app.useClient(() => {})
  ctx.stream.on('close', sendAgain)
  ctx.stream.on('end', sendAgain)
  const away = nextEvent(app, 'reconnect')
  ;(await accepted()).resetAndDestroy()
  await away
  sendAgain()
  t.deepEqual(new Set(await Promise.all(sent)), new Set(['ERR_CIO_CLOSED']))
})

test('a waiting send() goes out on the next connection, in order and once', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, { sendTimeout: 60_000 })
  const ctx = await app.connect({ host, port })
  const away = nextEvent(app, 'reconnect')
  ;(await accepted()).end()
  await away
  const sent = [ctx.messages.send('1'), ctx.messages.sendMany(['2', '3']), ctx.messages.send('4')]
  app.once('connect', () => sent.push(ctx.messages.send('5')))
  const back = nextEvent(app, 'connect')
  const far = await accepted()
  let text = ''
  far.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await back
  await Promise.all(sent)
  await ctx.close()
  if (!far.readableEnded) await once(far, 'end')
  t.is(text, '1\n2\n3\n4\n5\n')
})

test('send() that has waited too long rejects, and is not sent later', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, { ...forever, sendTimeout: 5, maxWaiting: 1 })
  const ctx = await app.connect({ host, port })
  const away = nextEvent(app, 'reconnect')
  ;(await accepted()).end()
  await away
  const error = await t.throwsAsync(ctx.messages.send('late'), { code: 'ERR_CIO_CLOSED' })
  t.regex(error.message, /within 5 ms/)
  // It has freed its place.
  await t.throwsAsync(ctx.messages.send('late'), { code: 'ERR_CIO_CLOSED' })
})

test('no more than maxWaiting messages wait', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t, { ...forever, sendTimeout: Infinity, maxWaiting: 2 })
  const ctx = await app.connect({ host, port })
  const away = nextEvent(app, 'reconnect')
  ;(await accepted()).end()
  await away
  const waiting = [ctx.messages.send('1'), ctx.messages.send('2')]
  await t.throwsAsync(ctx.messages.send('3'), { code: 'ERR_CIO_QUEUE_SIZE' })
  await ctx.close()
  for (const send of waiting) await t.throwsAsync(send, { code: 'ERR_CIO_CLOSED' })
})

test('reading while offline waits for the next connection, and ends with the client', async (t) => {
  const { port, accepted } = await bare(t)
  const app = client(t)
  const ctx = await app.connect({ host, port })
  const first = nextEvent(app, 'reconnect')
  ;(await accepted()).end()
  await first
  const next = ctx.messages.next()
  ;(await accepted()).write('hello\n')
  t.deepEqual(await next, { done: false, value: 'hello' })

  const { port: other, accepted: acceptedThere } = await bare(t)
  const lost = client(t, forever)
  const gone = await lost.connect({ host, port: other })
  const away = nextEvent(lost, 'reconnect')
  ;(await acceptedThere()).end()
  await away
  const [read, each] = [gone.messages.next(), gone.messages.each(() => {})]
  await gone.close()
  t.deepEqual(await read, { done: true, value: undefined })
  await each
})

test('messages without a codec are rejected with their own code', async (t) => {
  const { port } = await bare(t)
  const app = new Cio().useClient(reconnect(forever))
  closeAfter(t, app)
  const ctx: ClientContext & { messages?: Messages<string> } = await app.connect({ host, port })
  await t.throwsAsync(ctx.messages!.send('hello'), { code: 'ERR_CIO_NO_MESSAGES' })
})

test('over TLS ctx.peer is that of the current connection', async (t) => {
  const names = ['server', 'server2']
  const server = new Cio().useConnection((_ctx, next) => next())
  const apps = await Promise.all(names.map((name) => serve(t, server, identity(name))))
  let at = 0
  const app = client(t)
  const ctx = await app.connect({
    host: 'localhost',
    ca: path('root.crt'),
    checkServerIdentity: () => undefined,
    targets: [{ host, port: apps[at]!.port }],
    createConnection: (options, signal) => openSocket({ ...options, port: apps[at]!.port }, signal),
  })
  t.is(ctx.peer?.name, 'localhost')
  at = 1
  const back = nextEvent(app, 'connect')
  await apps[0]!.close({ timeout: 0 })
  await back
  t.is(ctx.peer?.name, 'second')
})

for (const options of [
  { stable: -1 },
  { wait: -1 },
  { maxWaiting: -1 },
  { when: true },
  { budget: 5 },
]) {
  const [[option, value]] = Object.entries(options) as [[string, unknown]]
  test(`${option} of ${String(value)} is an invalid option`, (t) => {
    t.throws(() => reconnect(options as ReconnectOptions), { code: 'ERR_CIO_OPTION' })
  })
}
