import test, { type ExecutionContext } from 'ava'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { Cio, type ConnectOptions, type CioError } from '../../src/index.ts'
import { openSocket } from '../../src/kit.ts'
import { contents, identity, path } from '../support/certificates.ts'
import { duplexPair } from '../support/duplex-pair.ts'
import { ownPort } from '../support/ports.ts'
import { closeAfter, readAll, serve } from '../support/serve.ts'
import { deferred, socketPath } from '../support/transports.ts'

/** A server that says its name, and its port. */
async function named(t: ExecutionContext, name: string, options = {}): Promise<number> {
  const app = new Cio().useConnection((ctx) => void ctx.stream.end(name))
  app.on('remoteError', () => {})
  app.on('error', () => {})
  return (await serve(t, app, options)).port
}

function client(t: ExecutionContext): Cio {
  const app = new Cio()
  closeAfter(t, app)
  return app
}

const host = '127.0.0.1'

test('of several targets the first that answers is connected to', async (t) => {
  const targets = [
    { host, port: await ownPort() },
    { host, port: await named(t, 'second') },
    { host, port: await named(t, 'third') },
  ]
  const ctx = await client(t).connect(targets)
  t.is(await readAll(ctx), 'second')
})

test('the options have the target that was chosen, while it is connected to', async (t) => {
  const port = await named(t, 'there')
  const ctx = await client(t).connect([{ host, port }], { path: '/nowhere', port: 1 })
  t.like(ctx.options, { host, port })
  t.is(await readAll(ctx), 'there')
  await ctx.closed
  t.like(ctx.options, { path: '/nowhere', port: 1 })
})

test('a Unix socket and a port can be targets of one client', async (t) => {
  const socket = socketPath(t)
  const app = client(t).useConnection((ctx) => void ctx.stream.end('unix'))
  await app.listen(socket)
  const ctx = await client(t).connect([{ host, port: await ownPort() }, { path: socket }])
  t.is(await readAll(ctx), 'unix')
  t.is(await readAll(await client(t).connect(socket)), 'unix')
})

test('where no target answers, the error names each, and has each cause', async (t) => {
  const ports = [await ownPort(), await ownPort()]
  const missing = socketPath(t)
  const targets = [...ports.map((port) => ({ host, port })), { path: missing }]
  const error = await t.throwsAsync<CioError>(client(t).connect(targets), {
    code: 'ERR_CIO_CONNECT',
  })
  t.is(error.fault, 'remote')
  for (const place of [...ports.map((port) => `${host}:${port}`), missing]) {
    t.true(error.message.includes(place), place)
  }
  t.deepEqual(
    (error.cause as AggregateError).errors.map(({ code }: NodeJS.ErrnoException) => code),
    ['ECONNREFUSED', 'ECONNREFUSED', 'ENOENT'],
  )
})

test('the error of a single target is Node’s own', async (t) => {
  const port = await ownPort()
  await t.throwsAsync(client(t).connect([{ host, port }]), { code: 'ECONNREFUSED' })
  await t.throwsAsync(client(t).connect({ host, port }), { code: 'ECONNREFUSED' })
})

test('a connection that the kernel makes to itself, where nobody listens, is refused', async (t) => {
  const port = await ownPort()
  const options = { host, port, localAddress: host, localPort: port }
  const error = await t.throwsAsync<NodeJS.ErrnoException>(client(t).connect(options), {
    code: 'ECONNREFUSED',
  })
  t.true(error.message.includes(`${host}:${port}`), error.message)
})

test('a random order begins with each, and tries every target once', async (t) => {
  const targets = [1, 2, 3].map((port) => ({ host, port }))
  const orders = new Set<string>()
  // The chance that one of six orders is missing is less than one in 10 ** 15.
  for (let round = 0; round < 200; round++) {
    const tried: number[] = []
    const createConnection = ({ port = 0 }: ConnectOptions): Duplex => {
      tried.push(port)
      throw Object.assign(new Error('none'), { code: 'ECONNREFUSED' })
    }
    const options = { order: 'random', createConnection } as const
    await t.throwsAsync(client(t).connect(targets, options), { code: 'ERR_CIO_CONNECT' })
    t.deepEqual(
      tried.toSorted((a, b) => a - b),
      [1, 2, 3],
    )
    orders.add(tried.join())
  }
  t.is(orders.size, 6)
})

test('the order that is given is kept', async (t) => {
  const tried: unknown[] = []
  const createConnection = ({ port }: ConnectOptions): Duplex => {
    tried.push(port)
    throw new Error('none')
  }
  const targets = [3, 1, 2].map((port) => ({ host, port }))
  await t.throwsAsync(client(t).connect(targets, { createConnection }))
  t.deepEqual(tried, [3, 1, 2])
})

test('each target has connectTimeout for itself, and what comes late is destroyed', async (t) => {
  const late = deferred<Duplex>()
  const [near] = duplexPair()
  const port = await named(t, 'second')
  const ctx = await client(t).connect(
    [
      { host, port: 1 },
      { host, port },
    ],
    {
      connectTimeout: 1_000,
      createConnection: (options, signal) =>
        options.port === 1 ? late.promise : openSocket(options, signal),
    },
  )
  t.is(await readAll(ctx), 'second')
  late.resolve(near)
  await once(near, 'close')
  t.true(near.destroyed)
})

test('a target that does not answer in time is named', async (t) => {
  const options = {
    host,
    port: 1,
    connectTimeout: 20,
    createConnection: () => new Promise(() => {}),
  }
  const error = await t.throwsAsync(client(t).connect(options as ConnectOptions), {
    code: 'ERR_CIO_CONNECT_TIMEOUT',
  })
  t.true(error.message.includes('127.0.0.1:1 '))
})

test('an error of the application is not the turn of the next target', async (t) => {
  const port = await named(t, 'second')
  const createConnection = (): Duplex => 'no Duplex' as unknown as Duplex
  await t.throwsAsync(client(t).connect([{ port: 1 }, { port }], { createConnection }), {
    code: 'ERR_CIO_OPTION',
  })
})

test('the certificate has to be for the target that was chosen', async (t) => {
  const port = await named(t, 'secret', identity('server'))
  const closed = await ownPort()
  const ca = path('root.crt')
  const ctx = await client(t).connect(
    [
      { host, port: closed },
      { host: 'localhost', port },
    ],
    {
      ca,
      family: 4,
    },
  )
  t.is(ctx.peer?.name, 'localhost')
  t.is(await readAll(ctx), 'secret')

  const lookup = resolvesTo([host])
  const elsewhere = [
    { host: 'localhost', port: closed },
    { host: 'elsewhere.test', port },
  ]
  await t.throwsAsync(client(t).connect(elsewhere, { ca, lookup }), { code: 'ERR_CIO_REJECTED' })
  const asked = [{ ...elsewhere[1], servername: 'localhost' }]
  t.is(await readAll(await client(t).connect(asked, { ca, lookup })), 'secret')
})

/** A look-up that finds the same addresses for every name. */
function resolvesTo(addresses: readonly string[]): NonNullable<ConnectOptions['lookup']> {
  return (_host, { all }, callback) => {
    const found = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    if (all) callback(null, found)
    else callback(null, found[0]!.address, found[0]!.family)
  }
}

test('every address of a name is tried, and named where all fail', async (t) => {
  const lookup = resolvesTo(['::1', '127.0.0.2', host])
  const port = await named(t, 'third address')
  const options = { host: 'many.test', port, lookup, autoSelectFamily: true }
  t.is(await readAll(await client(t).connect(options)), 'third address')

  const failing = { ...options, port: await ownPort() }
  const error = await t.throwsAsync<NodeJS.ErrnoException>(client(t).connect(failing), {
    code: 'ECONNREFUSED',
  })
  for (const address of ['127.0.0.2', host]) t.true(error.message.includes(address), error.message)
})

test('the options of choosing an address are Node’s own', async (t) => {
  const lookup = resolvesTo(['127.0.0.2', host])
  const port = await named(t, 'second address')
  await t.throwsAsync(
    client(t).connect({ host: 'many.test', port, lookup, autoSelectFamily: false }),
    { code: 'ECONNREFUSED' },
  )
  await t.throwsAsync(
    client(t).connect({ host: 'many.test', port, lookup, autoSelectFamilyAttemptTimeout: -1 }),
    { code: 'ERR_OUT_OF_RANGE' },
  )
})

test('a look-up that fails is told as it is', async (t) => {
  const lookup: ConnectOptions['lookup'] = (name, _options, callback) =>
    callback(Object.assign(new Error(`no ${name}`), { code: 'ENOTFOUND' }), [])
  await t.throwsAsync(client(t).connect({ host: 'nowhere.test', port: 1, lookup }), {
    code: 'ENOTFOUND',
  })
})

test('the connection comes from localAddress', async (t) => {
  const from = deferred<string | undefined>()
  const app = new Cio().useConnection((ctx) => from.resolve(ctx.socket?.remoteAddress))
  const { port } = await serve(t, app)
  await client(t).connect({ host, port, localAddress: '127.0.0.3' })
  t.is(await from.promise, '127.0.0.3')
})

/** A hook that never makes a connection; `asked` fulfils with its signal when it is asked to. */
function never(): { asked: Promise<AbortSignal>; createConnection: () => Promise<Duplex> } {
  const asked = deferred<AbortSignal>()
  const createConnection = (...[, signal]: unknown[]): Promise<Duplex> => {
    asked.resolve(signal as AbortSignal)
    return new Promise(() => {})
  }
  return { asked: asked.promise, createConnection }
}

test('close() while it connects ends it at once', async (t) => {
  const app = client(t)
  const { asked, createConnection } = never()
  const refusal = t.throwsAsync(app.connect({ port: 1, createConnection }), {
    code: 'ERR_CIO_CLOSED',
  })
  const signal = await asked
  t.false(signal.aborted)
  await app.close()
  await refusal
  t.true(signal.aborted)
})

test('a signal that aborts while it connects ends it at once, whatever targets are left', async (t) => {
  const controller = new AbortController()
  const reason = new Error('enough')
  const { asked, createConnection } = never()
  const targets = [{ port: 1 }, { port: 2 }]
  const options = { createConnection, signal: controller.signal }
  const refusal = t.throwsAsync(client(t).connect(targets, options), { is: reason })
  await asked
  controller.abort(reason)
  await refusal
})

test('any Duplex that createConnection makes is a connection, and TLS goes over it', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end('over it')),
    identity('server'),
  )
  const createConnection = async (
    options: ConnectOptions,
    signal: AbortSignal,
  ): Promise<Duplex> => {
    const [near, far] = duplexPair()
    const socket = await openSocket({ host, port: options.port! }, signal)
    far.pipe(socket).pipe(far)
    return near
  }
  const options = { host: 'localhost', port: server.port, createConnection }
  const ctx = await client(t).connect({ ...options, ca: path('root.crt') })
  t.is(ctx.peer?.name, 'localhost')
  t.is(await readAll(ctx), 'over it')
})

test('an identity beneath what createConnection made is not the peer’s', async (t) => {
  const { port } = await serve(
    t,
    new Cio().useConnection((ctx) => void ctx.stream.end('plain')),
    identity('server'),
  )
  const ctx = await client(t).connect({
    port: 1,
    createConnection: async () => {
      const proxy = connectTls({ host, port, servername: 'localhost', ca: contents('root.crt') })
      await once(proxy, 'secureConnect')
      t.true(proxy.authorized)
      return proxy
    },
  })
  t.is(ctx.peer, null)
  t.false(ctx.encrypted)
  t.is(ctx.remote, 'localhost:1')
  t.is(await readAll(ctx), 'plain')
})

test('connect and disconnect tell of a client, once each', async (t) => {
  const app = client(t)
  const told: unknown[] = []
  app.on('connect', (ctx) => told.push(['connect', ctx.id, ctx.connected]))
  app.on('disconnect', (error, ctx) => told.push([error, ctx.id, ctx.connected]))
  const ctx = await app.connect({ host, port: await named(t, 'hello') })
  t.is(await readAll(ctx), 'hello')
  await ctx.closed
  t.deepEqual(told, [
    ['connect', ctx.id, true],
    [undefined, ctx.id, false],
  ])
})

test('a client that was disconnected has its remote address, or the target', async (t) => {
  const app = client(t)
  const remotes: string[] = []
  app.on('disconnect', (_error, ctx) => remotes.push(ctx.remote))
  const targets = [
    { host, port: await ownPort() },
    { host, port: await named(t, 'hello') },
  ]
  const ctx = await app.connect(targets)
  await readAll(ctx)
  await ctx.closed
  t.deepEqual(remotes, [`${host}:${targets[1]!.port}`])
})

test('who was not connected is not told of', async (t) => {
  const app = client(t)
  app.on('connect', () => t.fail())
  app.on('disconnect', () => t.fail())
  await t.throwsAsync(app.connect({ host, port: await ownPort() }), { code: 'ECONNREFUSED' })
})

for (const options of [
  { order: 'reverse' },
  { targets: [] },
  { targets: ['localhost'] },
  { createConnection: true },
  { connectTimeout: -1 },
]) {
  const [[option, value]] = Object.entries(options) as [[string, unknown]]
  test(`${option} of ${JSON.stringify(value)} is refused`, async (t) => {
    await t.throwsAsync(client(t).connect({ port: 1, ...options } as ConnectOptions), {
      code: 'ERR_CIO_OPTION',
    })
  })
}
