/**
 * Public methods whose promise a peer can make reject, called without `await`. AVA fails a file in
 * whose process a rejection is unhandled, which is what each of these tests is about.
 */

import test, { type ExecutionContext } from 'ava'
import {
  Cio,
  type ClientContext,
  type ConnectionContext,
  events,
  json,
  lines,
  multiplex,
  reconnect,
  requests,
  rooms,
  rpc,
  startTls,
} from '../../src/index.ts'
import { Pool } from '../../src/pool.ts'
import { refused, unawaited } from '../../src/lifecycle/unawaited.ts'
import { closeAfter, dial, serve } from '../support/serve.ts'
import { nextEvent, reset } from '../support/transports.ts'
import { waiting } from '../support/waiting.ts'

type Call = (...args: never[]) => unknown
type Methods = Record<string, Call>

const turn = (): Promise<void> => new Promise((done) => setImmediate(done))

/** The methods of an object that an application sees, by name. */
function methodsOf(object: object): string[] {
  const names = new Set<string>()
  for (let at: object | null = object; at && at !== Object.prototype;) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (typeof value === 'function' && name !== 'constructor') names.add(name)
    }
    at = Object.getPrototypeOf(at) as object | null
  }
  return [...names]
}

/** How to call each method that returns a promise; null for one that returns none. */
const calls: Record<string, Record<string, readonly unknown[] | null>> = {
  messages: {
    next: [],
    each: [() => {}],
    send: ['message'],
    sendMany: [['one', 'two']],
    // These return at once, or take what encode() returned.
    encode: null,
    sendEncoded: null,
    accepts: null,
    intercept: null,
    end: [],
    // Undefined, unless it has to wait.
    drained: null,
    encodeError: null,
    close: null,
    release: null,
    moveTo: null,
  },
  rpc: { call: ['method'], notify: ['method'], stream: null },
  events: { emit: ['event', 1], on: null, once: null, off: null, listeners: null },
  requests: { call: ['request'], notify: ['message'], stream: null },
  rooms: { join: ['room'], leave: null },
  mux: { open: ['name'], handle: [new Cio(), 'name'], ping: [], goAway: null },
}

const layers: Record<string, (app: Cio) => unknown> = {
  messages: (app) => app.useConnection(json()).useClient(json()),
  rpc: (app) => app.useConnection(json()).useConnection(rpc()).useClient(json()).useClient(rpc()),
  requests: (app) =>
    app
      .useConnection(json())
      .useConnection(requests({ match: 'order' }))
      .useClient(json())
      .useClient(requests({ match: 'order' })),
  rooms: (app) =>
    app.useConnection(json()).useConnection(rooms()).useClient(json()).useClient(rooms()),
  events: (app) =>
    app.useConnection(json()).useConnection(events()).useClient(json()).useClient(events()),
  mux: (app) => app.useConnection(multiplex(new Cio())).useClient(multiplex(new Cio())),
}

async function connected(
  t: ExecutionContext,
  member: string,
  again = false,
): Promise<[client: ClientContext, accepted: ConnectionContext, app: Cio]> {
  const app = new Cio()
  if (again) app.useClient(reconnect({ retries: 0 }))
  layers[member]!(app)
  const server = await serve(t, app)
  const accepted = nextEvent(app, 'connection')
  const client = await app.connect(server.port)
  const [ctx] = await accepted
  return [client, ctx, app]
}

function methods(ctx: object, member: string): Methods {
  return (ctx as Record<string, Methods>)[member]!
}

for (const member of Object.keys(calls)) {
  test(`every method of ctx.${member} is among those that are tried`, async (t) => {
    const [client] = await connected(t, member)
    t.deepEqual(
      methodsOf(methods(client, member)).toSorted(),
      Object.keys(calls[member]!).toSorted(),
    )
  })

  for (const [name, args] of Object.entries(calls[member]!)) {
    if (!args) continue
    for (const again of [false, true]) {
      const how = again ? ' of a client that reconnects' : ''
      test(`ctx.${member}.${name}()${how} needs no await when the peer leaves`, async (t) => {
        const [client, accepted, app] = await connected(t, member, again)
        const seen: unknown[] = []
        app.on('error', (error) => seen.push(error))
        const use = (): void => void methods(client, member)[name]!(...(args as never[]))
        const over = nextEvent(app, 'disconnect')
        use()
        reset(accepted.socket!)
        use()
        await over
        use()
        await client.closed
        use()
        await turn()
        await turn()
        t.deepEqual(seen, [])
      })
    }
  }
}

test('the parts of an answer need no await when the peer leaves', async (t) => {
  const app = new Cio().useConnection(json()).useClient(json())
  const calling = app.useClient(requests<unknown>({ match: 'order' }))
  const server = await serve(t, app)
  const accepted = nextEvent(app, 'connection')
  const client = await calling.connect(server.port)
  const parts = client.requests.stream('request')
  void parts.next()
  void parts.next()
  reset((await accepted)[0].socket!)
  await client.closed
  t.true((await parts.next()).done)
  void client.requests.stream('another').next()
  await t.throwsAsync(client.requests.stream('another').next(), { code: 'ERR_CIO_CLOSED' })
})

test('the values of a streamed result need no await when the peer leaves', async (t) => {
  const app = new Cio().useConnection(json()).useClient(json())
  const calling = app.useClient(rpc())
  const server = await serve(t, app)
  const accepted = nextEvent(app, 'connection')
  const client = await calling.connect(server.port)
  const values = client.rpc.stream('method')
  void values.next()
  void values.next()
  reset((await accepted)[0].socket!)
  await client.closed
  t.true((await values.next()).done)
  void client.rpc.stream('another').next()
  await t.throwsAsync(client.rpc.stream('another').next(), { code: 'ERR_CIO_CLOSED' })
})

test('the uses of a pool need no await when the peer leaves', async (t) => {
  const app = new Cio().useConnection(json()).useClient(json()).useClient(rpc<{ wait(): void }>())
  app.on('error', () => t.fail('it is no local fault'))
  const server = await serve(t, app)
  const accepted = nextEvent(app, 'connection')
  const targets = [{ port: server.port, host: '127.0.0.1' }]
  const pool = new Pool(app, { targets })
  await pool.ready()
  const use = (): void => {
    void pool.call('wait')
    void pool.use((client) => client.rpc.call('wait'))
    void pool.ready({ min: 2 })
  }
  use()
  const lost = nextEvent(app, 'disconnect')
  reset((await accepted)[0].socket!)
  await Promise.all([lost, server.close()])
  use()
  const impatient = new Pool(app, { targets, waitTimeout: 1 })
  void impatient.call('wait')
  void impatient.ready()
  await t.throwsAsync(impatient.call('wait'), { code: 'ERR_CIO_POOL_TIMEOUT' })
  await impatient.close()
  await pool.close()
  use()
  await t.throwsAsync(pool.call('wait'), { code: 'ERR_CIO_CLOSED' })
})

test('a local fault in a use of a pool is reported where nothing awaits it, and only there', async (t) => {
  const app = new Cio().useConnection(json())
  const server = await serve(t, app)
  const pool = new Pool(app, { targets: [{ port: server.port, host: '127.0.0.1' }] })
  t.teardown(() => pool.close())
  const mine = new Error('mine')
  const seen: unknown[] = []
  app.on('error', (error) => seen.push(error))
  await t.throwsAsync(
    pool.use(() => Promise.reject(mine)),
    { is: mine },
  )
  await turn()
  await turn()
  t.deepEqual(seen, [])
  const told = nextEvent(app, 'error')
  void pool.use(() => Promise.reject(mine))
  t.is((await told)[0], mine)
})

test('connect() without await is reported when the other side refuses', async (t) => {
  const server = await new Cio().listen({ host: '127.0.0.1', port: 0 })
  const { port } = server
  await server.close()
  const app = new Cio()
  closeAfter(t, app)
  const told = nextEvent(app, 'remoteError')
  void app.connect(port)
  t.is(((await told)[0] as NodeJS.ErrnoException).code, 'ECONNREFUSED')
})

test('connect() that is awaited is not reported as well', async (t) => {
  const app = new Cio()
  closeAfter(t, app)
  for (const event of ['error', 'remoteError'] as const) app.on(event, () => t.fail(event))
  await t.throwsAsync(app.connect({ port: 1, host: '127.0.0.1' }), { code: 'ECONNREFUSED' })
  await turn()
  await turn()
})

test('startTls() without await fails by what the peer did, told once', async (t) => {
  const app = new Cio().useConnection(startTls()).useConnection(async (ctx, next) => {
    void ctx.startTls()
    await next()
  })
  const seen: unknown[] = []
  app.on('error', (error) => seen.push(error))
  const server = await serve(t, app)
  const closed = nextEvent(app, 'close')
  const socket = await dial(t, server)
  socket.write('this is not TLS')
  await closed
  await turn()
  t.true(seen.length <= 1)
})

test('reload() without await is reported where it fails', async (t) => {
  const app = new Cio().useServer(async (ctx, next) => {
    let loads = 0
    await ctx.configure((options) => {
      loads += 1
      if (loads > 1) throw new Error('no such file')
      return options
    })
    await next()
  })
  const server = await serve(t, app)
  const told = nextEvent(app, 'error')
  void server.reload()
  t.is((await told)[0].message, 'no such file')
  await t.throwsAsync(server.reload(), { message: 'no such file' })
})

const faults: Record<string, (ctx: { messages: { [name: string]: Call } }) => unknown> = {
  'send()': (ctx) => ctx.messages.send!(1n as never),
  'sendMany()': (ctx) => ctx.messages.sendMany!([1n] as never),
}
for (const [what, use] of Object.entries(faults)) {
  test(`a message without a form is reported where nothing awaits ${what}, and only there`, async (t) => {
    const app = new Cio().useConnection(json()).useConnection(async (ctx, next) => {
      const given = ctx as never
      await t.throwsAsync(use(given) as Promise<void>, { code: 'ERR_CIO_ENCODE' })
      const later = use(given) as Promise<void>
      await Promise.resolve()
      await t.throwsAsync(later, { code: 'ERR_CIO_ENCODE' })
      await turn()
      await turn()
      t.deepEqual(seen, [])
      void use(given)
      await next()
    })
    const seen: unknown[] = []
    const told = nextEvent(app, 'error')
    app.on('error', (error) => seen.push(error))
    const server = await serve(t, app)
    const socket = await dial(t, server)
    t.is(((await told)[0] as NodeJS.ErrnoException).code, 'ERR_CIO_ENCODE')
    const closed = nextEvent(app, 'close')
    socket.resume().end()
    await closed
    t.is(seen.length, 1)
  })
}

test('a call that cannot be encoded is reported where nothing awaits it', async (t) => {
  const [client, , app] = await connected(t, 'rpc')
  const told = nextEvent(app, 'error')
  methods(client, 'rpc').call!(...(['method', 1n] as never[]))
  t.is(((await told)[0] as NodeJS.ErrnoException).code, 'ERR_CIO_ENCODE')
  const call = methods(client, 'rpc').call!(...(['method', 1n] as never[]))
  await t.throwsAsync(call as Promise<void>, { code: 'ERR_CIO_ENCODE' })
})

for (const [whose, handler, event, code] of [
  ['the peer', () => {}, 'remoteError', 'ERR_CIO_SYNTAX'],
  [
    'its function',
    () => {
      throw Object.assign(new Error('mine'), { code: 'MINE' })
    },
    'error',
    'MINE',
  ],
] as const) {
  test(`each() without await ends its connection by a fault of ${whose}`, async (t) => {
    const app = new Cio().useConnection(json()).useConnection(async (ctx, next) => {
      void ctx.messages.each(handler)
      await next()
    })
    const server = await serve(t, app)
    const [told, closed] = [nextEvent(app, event), nextEvent(app, 'close')]
    const socket = await dial(t, server)
    socket.write(event === 'error' ? '1\n' : 'no json\n')
    t.is(((await told)[0] as NodeJS.ErrnoException).code, code)
    await closed
  })
}

test('a client that reconnects does so after bad input that each() without await met', async (t) => {
  let connections = 0
  const app = new Cio()
    .useConnection(lines())
    .useConnection(async (ctx, next) => {
      connections += 1
      if (connections === 1) await ctx.messages.send('no json')
      await next()
    })
    .useClient(reconnect({ delay: 0 }))
    .useClient(json())
  const server = await serve(t, app)
  const again = new Promise<void>((resolve) => {
    app.on('connect', (client) => {
      if (connections > 1) return resolve()
      void (
        client as unknown as { messages: { each: (take: () => void) => unknown } }
      ).messages.each(() => {})
    })
  })
  const client = await app.connect(server.port)
  await again
  t.true(client.connected)
})

test('a promise that need not be awaited passes for one, and is awaited once by then() and all()', async (t) => {
  const ctx = waiting(t)
  ctx.app.removeAllListeners('error')
  ctx.app.on('error', () => t.fail('it was awaited'))
  t.is(await unawaited(ctx, Promise.resolve(1)), 1)
  t.true(unawaited(ctx, Promise.resolve()) instanceof Promise)
  const failure = new Error('failed')
  t.is(await refused(ctx, failure).catch((error: unknown) => error), failure)
  await t.throwsAsync(Promise.all([refused(ctx, failure), refused(ctx, failure)]), { is: failure })
  await t.throwsAsync(Promise.race([refused(ctx, failure), new Promise(() => {})]), { is: failure })
  await refused(ctx, failure)
    .finally(() => {})
    .catch(() => {})
  await turn()
  await turn()
})
