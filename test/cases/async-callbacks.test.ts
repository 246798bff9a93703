/**
 * Functions of the application that have to answer at once, given as async ones, which nothing but a
 * type forbids and `void` does not: their promise would count as true, so that a predicate admits
 * everybody, and Node would end the process when it rejects, which whoever connects may bring about.
 */

import test from 'ava'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { websocket } from '../../middleware/websocket.ts'
import {
  Cio,
  type ConnectOptions,
  type ListenOptions,
  type MessagesContext,
  codec,
  forward,
  frames,
  heartbeat,
  json,
  lines,
  log,
  rateLimit,
  record,
  requests,
  sendProxyProtocol,
} from '../../src/index.ts'
import { Pool } from '../../src/pool.ts'
import { identity, path } from '../support/certificates.ts'
import { closeAfter, dial, serve } from '../support/serve.ts'
import { nextEvent } from '../support/transports.ts'

/** Throws, as a function that is not async would. */
const failing = (): never => {
  throw new Error('it fails')
}
/** Stands for an async function in JavaScript. */
const rejecting = (() => Promise.reject(new Error('it fails'))) as () => never
const fulfilling = (() => Promise.resolve(true)) as () => never

type App = Cio<object, object, object>
type Build = (callback: () => never) => App

const echo = async ({ messages }: MessagesContext<unknown>): Promise<void> => {
  for await (const message of messages) await messages.send(message)
}
const talk = (app: Cio): App => app.useConnection(echo as never)
const byId = {
  idOf: ({ re }: { re?: number }) => re,
  withId: (m: object, id: number) => ({ ...m, id }),
}
const ask = async (ctx: object): Promise<void> => {
  await (ctx as { requests: { call(request: object): Promise<unknown> } }).requests.call({})
}
const asking = (options: object): App =>
  new Cio()
    .useConnection(json<never>())
    .useConnection(requests<never>({ match: byId as never, ...options }))
    .useConnection(ask)

/** Each makes a server that asks the function when its client says `{"re":1}`, or nothing. */
const asked: Record<string, Build> = {
  'by of rateLimit': (by) =>
    talk(new Cio().useConnection(json()).useConnection(rateLimit({ rate, by })) as never),
  'ping of heartbeat': (ping) =>
    talk(new Cio().useConnection(json()).useConnection(heartbeat({ interval: 20, ping })) as never),
  'isPong of heartbeat': (isPong) =>
    talk(new Cio().useConnection(json()).useConnection(heartbeat({ isPong })) as never),
  'pong of heartbeat': (pong) =>
    talk(new Cio().useConnection(json()).useConnection(heartbeat({ pong })) as never),
  'idOf of requests': (idOf) => asking({ match: { ...byId, idOf } }),
  'withId of requests': (withId) => asking({ match: { ...byId, withId } }),
  'cancel of requests': (cancel) =>
    asking({ match: { ...byId, idOf: () => undefined, cancel }, serve() {}, timeout: 20 }),
  'isLast of requests': (isLast) => asking({ isLast }),
  'failure of requests': (failure) => asking({ failure }),
  'isAnswer of requests': (isAnswer) => asking({ match: 'order', isAnswer, serve() {} }),
  'when of record': (when) =>
    talk(new Cio().useConnection(record({ when, to: 'none' })).useConnection(lines()) as never),
  'header of forward': (header) => new Cio().useConnection(forward(9, { header })),
  'decode of codec': (decode) =>
    talk(new Cio().useConnection(codec({ delimiter: '\n', encode: String, decode })) as never),
  'encode of codec': (encode) =>
    talk(new Cio().useConnection(codec({ delimiter: '\n', encode, decode: String })) as never),
  'of of a checksum': (of) =>
    talk(new Cio().useConnection(frames({ size: 9, checksum: { of, bytes: 1 } })) as never),
  'of of a checksum with resync': (of) =>
    talk(
      new Cio().useConnection(
        frames({ start: '{', size: 8, checksum: { of, bytes: 1 }, resync: true }),
      ) as never,
    ),
  'measure of frames': (measure) => talk(new Cio().useConnection(frames({ measure })) as never),
  'sending of an interceptor': (sending) =>
    talk(
      new Cio().useConnection(lines()).useConnection((ctx, next) => {
        ctx.messages.intercept({ sending })
        return next()
      }) as never,
    ),
}
const rate = { count: 10, per: 1_000 }

for (const [what, build] of Object.entries(asked)) {
  for (const [how, callback] of Object.entries({ rejects: rejecting, fulfils: fulfilling })) {
    test(`${what} that is async and ${how} ends its connection alone, by an error that names it`, async (t) => {
      const app = build(callback)
      const server = await serve(t, app as Cio)
      const failed = nextEvent(app, 'error')
      const client = await dial(t, server)
      client.resume().write('{"re":1}\n')
      const [error] = await failed
      t.is((error as NodeJS.ErrnoException).code, 'ERR_CIO_OPTION')
      t.true(error.message.includes(`\`${what.split(' ')[0]}\``), error.message)
      t.true(error.message.includes('answers at once'), error.message)
      const closed = new Promise((resolve) => client.once('close', resolve))
      client.end()
      if (!client.closed) await closed
      t.is(server.connections.size, 0)
    })
  }
}

for (const [how, origins] of Object.entries({
  throws: failing,
  rejects: rejecting,
  fulfils: fulfilling,
})) {
  test(`origins of websocket that ${how} admits no page, and ends no process`, async (t) => {
    const inner = talk(new Cio().useConnection(lines()) as never)
    const app = new Cio().useConnection(websocket(inner as never, { origins }))
    const server = await serve(t, app)
    const failed = nextEvent(app, 'error')
    const client = new WebSocket(`ws://127.0.0.1:${server.port}`, { origin: 'http://a.test' })
    t.teardown(() => client.terminate())
    const [error] = (await once(client, 'error')) as [Error]
    t.is(error.message, 'Unexpected server response: 500')
    const [told] = await failed
    t.is((told as NodeJS.ErrnoException).code, how === 'throws' ? undefined : 'ERR_CIO_OPTION')
  })
}

/** Each is called with no answer to give, and reports what it throws or rejects with. */
const told: Record<string, (app: Cio, callback: () => never) => void> = {
  'a logger': (app, write) =>
    void app.useServer(log({ to: { info: write, warn: write, error: write } })),
  'a logger of open connections': (app, write) =>
    void app.useServer(log({ to: { info: write, warn() {}, error() {} }, openInterval: 20 })),
  'begin of a probe': (app, begin) => void app.observe({ begin }),
  'step of a probe': (app, step) => void app.observe({ step }),
  'end of a probe': (app, end) => void app.observe({ end }),
}

for (const [what, add] of Object.entries(told)) {
  for (const [how, callback] of Object.entries({ throws: failing, rejects: rejecting })) {
    test(`${what} that ${how} is reported by error, and the connection is served`, async (t) => {
      const app = new Cio()
      add(app, callback)
      talk(app.useConnection(lines()) as never)
      const server = await serve(t, app)
      const failed = nextEvent(app, 'error')
      const client = await dial(t, server)
      client.write('hi\n')
      const [answer] = (await once(client, 'data')) as [Buffer]
      t.is(answer.toString(), 'hi\n')
      if (!what.includes('open')) client.end()
      const [error] = await failed
      t.is(error.message, 'it fails')
    })
  }
}

test('an SNICallback that is async and rejects fails its handshake alone', async (t) => {
  const app = new Cio()
  const server = await serve(t, app, { ...identity('server'), SNICallback: rejecting })
  const failed = nextEvent(app, 'remoteError')
  const client = new Cio()
  closeAfter(t, client)
  const options = {
    host: '127.0.0.1',
    port: server.port,
    ca: path('root.crt'),
    servername: 'a.test',
  }
  await t.throwsAsync(client.connect(options), { code: 'ERR_CIO_HANDSHAKE' })
  const [error] = await failed
  t.true(error.message.includes('it fails'), error.message)
})

/** Each fails connect() with an error that names the function, or is what it rejects with. */
const dialled: Record<string, (callback: () => never) => [Cio, ConnectOptions, ListenOptions]> = {
  lookup: (lookup) => [new Cio(), { host: 'a.test', lookup }, {}],
  checkServerIdentity: (checkServerIdentity) => [
    new Cio(),
    { host: '127.0.0.1', servername: 'localhost', ca: path('root.crt'), checkServerIdentity },
    identity('server'),
  ],
  header: (header) => [
    new Cio().useClient(sendProxyProtocol({ header })),
    { host: '127.0.0.1' },
    {},
  ],
}

for (const [what, make] of Object.entries(dialled)) {
  test(`${what} of a client that is async and rejects fails connect(), and ends no process`, async (t) => {
    const [client, options, listen] = make(rejecting)
    const server = await serve(t, talk(new Cio().useConnection(lines()) as never) as Cio, listen)
    closeAfter(t, client)
    const error = await t.throwsAsync(client.connect({ port: server.port, ...options }))
    t.regex(error.message, what === 'lookup' ? /it fails/ : /answers at once/)
  })
}

test('isFailure of a pool that fails frees the place of its use', async (t) => {
  const server = await serve(
    t,
    new Cio().useConnection(async (ctx) => {
      for await (const _ of ctx) continue
    }),
  )
  for (const isFailure of [failing, rejecting]) {
    const targets = [{ host: '127.0.0.1', port: server.port }]
    const app = new Cio()
    closeAfter(t, app)
    const pool = new Pool(app, { targets, isFailure, maxPending: 1, connections: 1 })
    for (let use = 0; use < 3; use++) {
      const failed = pool.use(() => failing())
      await t.throwsAsync(failed, {
        message: isFailure === failing ? /it fails/ : /answers at once/,
      })
    }
    t.is(pool.targets[0]!.pending, 0)
    await pool.close({ timeout: 0 })
  }
})

test('a listener of a pool that throws or rejects is reported by the app', async (t) => {
  for (const listener of [failing, rejecting]) {
    const app = new Cio()
    closeAfter(t, app)
    const failed = nextEvent(app, 'error')
    const resolve = (): Promise<never> => Promise.reject(new Error('no name'))
    const pool = new Pool(app, { targets: { resolve } })
    pool.on('resolveError', listener)
    const [error] = await failed
    t.is(error.message, 'it fails')
    await pool.close({ timeout: 0 })
  }
})
