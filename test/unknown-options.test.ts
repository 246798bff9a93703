/** Every function with options refuses those that it does not know. */

import test from 'ava'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import {
  Cio,
  type ClientContext,
  type Context,
  type EventsContext,
  type MessagesContext,
  type StartTlsContext,
  type StreamContext,
  events,
  json,
  lines,
  multiplex,
  requests,
  rooms,
  rpc,
  startTls,
} from '../src/index.ts'
import { Backoff, Peek, type PeekOptions, PendingCalls, RetryBudget } from '../src/kit.ts'
import { Pool } from '../src/pool.ts'
import { chaos, conforms, duplexPair, fragment } from '../src/testing.ts'
import { middlewareOf } from './support/middleware.ts'
import { closeAfter } from './support/serve.ts'

const unknown = { typo: 1 } as object
const refusal = { code: 'ERR_CIO_OPTION', message: /`typo`/ }

const noObjects = [null, 5_000, 'text', true, () => {}, ['text']]

/** What is passed before the options; null for a middleware without options. */
const before: Record<string, readonly unknown[] | null> = {
  'allow-list': [['alice']],
  'deny-list': [['mallory']],
  forward: [7000],
  http: null,
  layer: null,
  multiplex: [new Cio()],
  route: [[{ to: 'next' }]],
  protobuf: [{}],
  transform: null,
  websocket: [new Cio()],
}

for (const file of readdirSync(new URL('../middleware/', import.meta.url))) {
  if (!file.endsWith('.ts')) continue
  const name = file.slice(0, -'.ts'.length)
  const args = before[name] === undefined ? [] : before[name]
  if (!args) continue
  test(`${name} refuses an option that it does not know`, (t) => {
    t.throws(() => middlewareOf(name)(...args, unknown), refusal)
    t.throws(() => middlewareOf(name)(...args, Object.create(unknown)), refusal)
  })
  test(`${name} refuses what is no object of options`, (t) => {
    for (const wrong of noObjects) {
      const make = (): unknown => middlewareOf(name)(...args, wrong)
      t.throws(make, { code: 'ERR_CIO_OPTION' }, String(wrong))
    }
  })
}

const backoff = { retries: 1, delay: 1, factor: 1, maxDelay: 1, jitter: 0 }
const pooled = { targets: [{ port: 7000 }] }
const poolOptions: Record<string, object> = {
  itself: { ...pooled, ...unknown },
  'a target': { targets: [{ port: 7000, ...unknown }] },
  connect: { ...pooled, connect: unknown },
  eject: { ...pooled, eject: unknown },
}
for (const [whose, options] of Object.entries(poolOptions)) {
  test(`a pool refuses an option that it does not know, when it is made: ${whose}`, (t) => {
    t.throws(() => new Pool(new Cio(), options as typeof pooled), refusal)
  })
}

const parts: Record<string, (more: object) => unknown> = {
  Peek: (more) => new Peek(duplexPair()[0], { maxSize: 1, timeout: 1, ...more }),
  PendingCalls: (more) => {
    const none = {} as never
    return new PendingCalls(none, none, none, { timeout: 1, maxCalls: 1, ...more })
  },
  Backoff: (more) => new Backoff('owner', { ...backoff, ...more }),
  RetryBudget: (more) => new RetryBudget(more),
}
for (const [name, make] of Object.entries(parts)) {
  test(`${name} of the kit refuses an option that it does not know`, (t) => {
    t.notThrows(() => make({}))
    t.throws(() => make(unknown), refusal)
  })
}

test('a part of the kit refuses a bound that is missing', (t) => {
  const peek = (options: object): unknown => new Peek(duplexPair()[0], options as PeekOptions)
  t.throws(() => peek({ timeout: 1 }), { message: /^Peek: expected `maxSize`/ })
  t.throws(() => peek({ maxSize: 1 }), { message: /^Peek: expected `timeout`/ })
})

test('a class refuses what is no object of options', (t) => {
  const classes: Record<string, (options: never) => unknown> = {
    Cio: (options) => Reflect.construct(Cio, [options]),
    Pool: (options) => new Pool(new Cio(), options),
    Peek: (options) => new Peek(duplexPair()[0], options),
    PendingCalls: (options) => new PendingCalls({} as never, {} as never, {} as never, options),
    Backoff: (options) => new Backoff('owner', options),
    RetryBudget: (options) => new RetryBudget(options),
  }
  for (const [name, make] of Object.entries(classes)) {
    for (const wrong of noObjects) {
      const said = `${name}(${String(wrong)})`
      t.throws(() => make(wrong as never), { code: 'ERR_CIO_OPTION' }, said)
    }
  }
})

test('a method refuses what is no function, or no stream', async (t) => {
  const app = new Cio()
    .useConnection(startTls())
    .useConnection(json())
    .useConnection(events())
    .useConnection(async ({ signal }) => void (signal.aborted || (await once(signal, 'abort'))))
  closeAfter(t, app)
  const pool = new Pool(app, { targets: [{ port: 1, host: '127.0.0.1' }] })
  t.teardown(() => pool.close({ timeout: 0 }))
  const server = await app.listen({ bind: false })
  const began = once(app, 'connection')
  server.accept(duplexPair()[0])
  const [ctx] = (await began) as [
    StreamContext & StartTlsContext & EventsContext & MessagesContext<unknown>,
  ]
  for (const wrong of [null, 5, 'text', {}] as never[]) {
    const calls: Record<string, () => unknown> = {
      'server.accept': () => server.accept(wrong),
      'app.handle': () => app.handle(wrong),
      'messages.each': () => ctx.messages.each(wrong),
      'events.on': () => ctx.events.on('name', wrong),
      'pool.use': () => pool.use(wrong),
      'ctx.startTls': () => ctx.startTls(wrong),
    }
    for (const [name, call] of Object.entries(calls)) {
      const said = `${name}(${JSON.stringify(wrong)})`
      await t.throwsAsync(async () => call(), { code: 'ERR_CIO_OPTION' }, said)
    }
  }
})

test('a tool for tests refuses what is no object of options', async (t) => {
  const tools: Record<string, (options: never) => unknown> = {
    chaos: (options) => chaos(options),
    conforms: (options) => conforms(() => lines(), options),
    fragment: (options) => fragment('text', options).next(),
  }
  for (const [name, use] of Object.entries(tools)) {
    for (const wrong of noObjects) {
      const said = `${name}(${String(wrong)})`
      await t.throwsAsync(async () => use(wrong as never), { code: 'ERR_CIO_OPTION' }, said)
    }
  }
})

test('a pool refuses a budget and a function of the wrong kind', (t) => {
  for (const options of [{ budget: {} }, { isFailure: true }] as object[]) {
    t.throws(() => new Pool(new Cio(), { ...pooled, ...options }), { code: 'ERR_CIO_OPTION' })
  }
})

test('methods refuse options that they do not know', async (t) => {
  const chat = rooms()
  const streams = new Cio().useConnection(lines())
  const app = new Cio()
    .useConnection(json())
    .useClient(json())
    .useClient(chat)
    .useClient(rpc<{ add(): number }>())
  const asking = new Cio()
    .useConnection(json())
    .useClient(json())
    .useClient(requests<unknown>({ match: 'order' }))
  const many = new Cio().useConnection(multiplex(streams)).useClient(multiplex(streams))
  for (const one of [app, asking, many]) closeAfter(t, one)
  const listening = await app.listen({ bind: false })
  const connected = async <Client extends object>(
    one: Cio<{}, Client>,
  ): Promise<[ClientContext & Client, Context]> => {
    const server = await one.listen({ bind: false })
    let accepted!: Context
    const client = await one.connect({
      createConnection: () => {
        const [near, far] = duplexPair()
        accepted = server.accept(near)
        return far
      },
    })
    return [client, accepted]
  }
  const [client, server] = await connected(app)
  const [asks] = await connected(asking)
  const [opens] = await connected(many)
  const pool = new Pool(app, { targets: [{ port: 1, host: '127.0.0.1' }] })
  t.teardown(() => pool.close({ timeout: 0 }))
  const calls: Record<string, (options: object) => unknown> = {
    'app.close': (options) => app.close(options),
    'app.listen': (options) => app.listen(options),
    'app.connect': (options) => app.connect(options),
    'server.close': (options) => listening.close(options),
    'ctx.close': (options) => server.close(options),
    'client.close': (options) => client.close(options),
    'app.handle': async (options) => app.handle(duplexPair()[0], options),
    'rooms.send': async (options) => chat.send('room', 1, options),
    'rpc.call': async (options) => client.rpc.call('add', undefined, options),
    'requests.call': async (options) => asks.requests.call(1, options),
    'requests.stream': (options) => asks.requests.stream(1, options).next(),
    'mux.ping': (options) => opens.mux.ping(options),
    'pool.use': (options) => pool.use(() => 1, options),
    'pool.ready': (options) => pool.ready(options),
    'pool.close': (options) => pool.close(options),
  }
  for (const [name, call] of Object.entries(calls)) {
    await t.throwsAsync(async () => call(unknown), refusal, name)
    for (const wrong of noObjects) {
      // A port and a path of a socket are arguments of these.
      if (/listen|connect/.test(name) && !(wrong === null || typeof wrong === 'function')) continue
      const said = `${name}(${String(wrong)})`
      await t.throwsAsync(async () => call(wrong as object), { code: 'ERR_CIO_OPTION' }, said)
    }
  }
})
