import test from 'ava'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { Cio, type CioError } from 'cio'
import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { type Engine, cluster, encodeName, mailbox } from '../../src/index.ts'
import { type NatsOptions, nats } from '../../src/nats.ts'
import { engineConforms } from '../../src/testing.ts'
import { Instance } from '../support/fleet.ts'
import { NatsServer, natsServerVersion } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'

const quick = { reconnectTimeWait: 50, timeout: 60_000 }
/** Notices a silence of 600 ms: only for a test whose broker is silent on purpose. */
const alert = { ...quick, pingInterval: 200, maxPingOut: 2, timeout: 2_000 }
const { signal } = new AbortController()

function engineOf(server: NatsServer, options: NatsOptions = {}): Engine {
  return nats({ connect: { servers: server.address, ...quick }, ...options })
}

async function heard(engine: Engine, event: 'down' | 'up'): Promise<void> {
  await once(engine as unknown as EventEmitter, event)
}

natsTest('nats() keeps the contract, with a broker that is killed and started again', async (t) => {
  t.log(natsServerVersion())
  const server = await NatsServer.start(t)
  const outage = { begin: () => server.kill(), end: () => server.start() }
  const kept = await engineConforms(() => engineOf(server), { outage })
  t.true(kept.includes('ends watches with the outage'))
})

natsTest('nats() keeps the contract, with a broker that is frozen', async (t) => {
  const server = await NatsServer.start(t)
  const outage = { begin: () => server.freeze(), end: () => server.thaw() }
  const connect = { servers: server.address, ...alert }
  const kept = await engineConforms(() => nats({ connect }), { outage })
  t.true(kept.includes('rejects at once without a broker, and keeps nothing for later'))
})

natsTest('nats() keeps the contract, with a broker that takes shorter payloads', async (t) => {
  const server = await NatsServer.start(t, 'max_payload: 65536')
  const kept = await engineConforms(() => engineOf(server))
  t.true(kept.includes('rejects a payload that is too long'))
})

natsTest('a broker that will never do is an error at the start, and no wait', async (t) => {
  const without = await NatsServer.start(t, 'accounts { A { users: [{ user: a, password: a }] } }')
  const alone = await NatsServer.start(t)
  const small = await NatsServer.start(t, 'jetstream { max_mem: 1M, max_file: 1M }')
  const account = { user: 'a', pass: 'a', servers: without.address }
  for (const [engine, message] of [
    [nats({ connect: account }), /no JetStream: start `nats-server` with `-js`/],
    [engineOf(alone, { replicas: 3 }), /`replicas` above 1 need a cluster of brokers/],
    [engineOf(small), /no room for letters: .*lower `maxBytes`/],
  ] as const) {
    const here = cluster({ engine })
    mailbox(here, { deliver: async () => {} })
    const listens = new Cio().useServer(here).listen({ port: 0, host: '127.0.0.1' })
    await t.throwsAsync(listens, { code: 'ERR_CIO_OPTION', message })
    await t.throwsAsync(here.open(), { code: 'ERR_CIO_OPTION', message })
    t.false(engine.isUp)
  }
})

natsTest('a broker without storage left is named as the cause', async (t) => {
  const server = await NatsServer.start(t, 'jetstream { max_mem: 1M, max_file: 4K }')
  const engine = engineOf(server)
  t.teardown(() => engine.close())
  await engine.open(signal)
  const fill = async (): Promise<void> => {
    const table = await engine.table('rows', { ttl: 60_000 })
    for (let at = 0; at < 100; at++) await table.put(`k${at}`, Buffer.alloc(1_000))
  }
  const message = /JetStream refused: .*(resource|storage|exceeded)/
  await t.throwsAsync(fill, { code: 'ERR_CIO_CLUSTER_DOWN', message })
})

natsTest('what an operator has deleted is made again, and for a table that is a gap', async (t) => {
  const server = await NatsServer.start(t)
  const engine = engineOf(server)
  t.teardown(() => engine.close())
  await engine.open(signal)
  const table = await engine.table('rows', { ttl: 60_000 })
  await table.watch(() => {}, { signal })
  await table.put('k', Buffer.from('v'))
  const letters = await engine.letters('box', { maxPerKey: 9, maxBytes: 9_000, maxAge: 60_000 })
  await letters.append('k', Buffer.from('lost'), 'a')
  const up = heard(engine, 'up')
  const operator = await connect({ servers: server.address })
  const { streams } = await jetstreamManager(operator)
  await streams.delete('cio_letters_box')
  await letters.append('k', Buffer.from('stored'), 'b')
  t.is(Buffer.from((await letters.next('k', 0))!.payload).toString(), 'stored')
  await streams.delete('KV_cio_rows')
  await operator.close()
  await up
  t.is(await table.get('k'), undefined)
  await table.replace('k', Buffer.from('again'), 0)
})

natsTest(
  'up means that tables and letters can be used, also if the broker has lost them, and numbers rise',
  async (t) => {
    const server = await NatsServer.start(t)
    const engine = engineOf(server)
    t.teardown(() => engine.close())
    await engine.open(signal)
    const table = await engine.table('rows', { ttl: 60_000 })
    const before = await table.put('k', Buffer.from('v'))
    const letters = await engine.letters('box', { maxPerKey: 9, maxBytes: 9_000, maxAge: 60_000 })
    const { seq } = await letters.append('k', Buffer.from('lost'), 'a')
    const down = heard(engine, 'down')
    await server.kill()
    server.forget()
    await down
    const up = heard(engine, 'up')
    await server.start()
    await up
    t.is((await table.get('k'))?.value ?? null, null)
    await t.throwsAsync(table.replace('k', Buffer.from('old'), before), { code: 'ERR_CIO_STALE' })
    t.true((await table.put('k', Buffer.from('again'))) > before)
    t.is(Buffer.from((await table.get('k'))!.value!).toString(), 'again')
    const next = await letters.append('k', Buffer.from('next'), 'b')
    t.true(next.seq > seq)
    await letters.remove('k', seq)
    t.is((await letters.next('k', seq))?.seq, next.seq)
  },
)

natsTest('open() waits for a broker that is not there yet, until its signal aborts', async (t) => {
  const server = await NatsServer.start(t)
  await server.kill()
  const engine = engineOf(server)
  t.teardown(() => engine.close())
  const controller = new AbortController()
  const stopped = engine.open(controller.signal)
  controller.abort(new Error('enough'))
  await t.throwsAsync(stopped)
  const opened = engine.open(signal)
  await server.start()
  await opened
  t.true(engine.isUp)
})

natsTest('a connection of the application stays open when the engine closes', async (t) => {
  const server = await NatsServer.start(t)
  const servers = server.address
  const connection = await connect({ servers, ...quick, maxReconnectAttempts: -1 })
  t.teardown(() => connection.close())
  const engine = nats({ connection })
  await engine.open(signal)
  await engine.table('rows', { ttl: 60_000 })
  await engine.close()
  t.false(connection.isClosed())

  const given = await connect({ servers })
  t.teardown(() => given.close())
  t.throws(() => nats({ connection: given }), { code: 'ERR_CIO_OPTION', message: /-1/ })
})

natsTest('many starts and ends on one connection leave nothing behind', async (t) => {
  const server = await NatsServer.start(t)
  const servers = server.address
  const connection = await connect({ servers, ...quick, maxReconnectAttempts: -1 })
  t.teardown(() => connection.close())
  const here = cluster({ engine: nats({ connection }) })
  for (let at = 0; at < 20; at++) {
    await here.open()
    await here.close()
  }
  const { protocol } = connection as unknown as {
    protocol: { listeners: unknown[]; subscriptions: { subs: Map<number, unknown> } }
  }
  t.deepEqual(protocol.listeners, [])
  // That of the inbox of nats.js itself.
  t.true(protocol.subscriptions.subs.size <= 1)
})

natsTest('a table is made again once, however often it was opened', async (t) => {
  const server = await NatsServer.start(t)
  const engine = engineOf(server)
  t.teardown(() => engine.close())
  await engine.open(signal)
  const bounds = { maxPerKey: 9, maxBytes: 9_000, maxAge: 60_000 }
  const first = await engine.table('rows', { ttl: 60_000 })
  for (let at = 0; at < 50; at++) {
    await engine.table('rows', { ttl: 60_000 })
    await engine.letters('box', bounds)
  }
  await first.watch(() => {}, { signal })
  const before = await first.put('k', Buffer.from('v'))
  const operator = await connect({ servers: server.address })
  t.teardown(() => operator.close())
  let asked = 0
  operator.subscribe('$JS.API.STREAM.>', { callback: () => void (asked += 1) })
  const up = heard(engine, 'up')
  await (await jetstreamManager(operator)).streams.delete('KV_cio_rows')
  await up
  await operator.flush()
  t.true(asked < 20, `${asked} requests`)
  t.true((await first.put('k', Buffer.from('v'))) > before, 'it knows of the new one')
})

natsTest('clusterDown at a start has the reason, and so have the calls after it', async (t) => {
  const server = await NatsServer.start(
    t,
    'accounts { A { jetstream: enabled, users: [{ user: a, password: right }] } }',
  )
  const gone = await NatsServer.start(t)
  await gone.kill()
  const wrong = { servers: server.address, user: 'a', pass: 'wrong' }
  for (const [connect, reason] of [
    [wrong, /authorization violation/i],
    [{ servers: gone.address }, /ECONNREFUSED|connection refused/i],
  ] as const) {
    const engine = nats({ connect: { ...connect, ...quick } })
    const app = new Cio().useServer(cluster({ engine, whenDown: 'listen' }))
    const down = once(app, 'clusterDown')
    const listening = app.listen({ bind: false })
    const [, said] = (await down) as [unknown, Error | undefined]
    // On a slow machine the first attempt may take longer than the second until the event.
    while (!engine.downCause) await delay(10)
    t.regex(String(said ?? engine.downCause), reason)
    const refused = t.throws(() => engine.publish('subject', Buffer.alloc(1)))
    t.is((refused as Partial<CioError>).code, 'ERR_CIO_CLUSTER_DOWN')
    t.regex(String(refused?.cause), reason)
    await listening
    await app.close()
  }
})

natsTest('a broker that refuses the credentials for a while is connected again', async (t) => {
  const login = (pass: string): string =>
    `accounts { A { jetstream: enabled, users: [{ user: a, password: ${pass} }] } }`
  const server = await NatsServer.start(t, login('right'))
  // nats.js waits for so long if a broker is killed during the handshake.
  const patient = { ...quick, timeout: 10_000 }
  const engine = nats({
    connect: { servers: server.address, user: 'a', pass: 'right', ...patient },
  })
  t.teardown(() => engine.close())
  await engine.open(signal)
  const down = heard(engine, 'down')
  await server.kill()
  await down
  await server.start(`debug: true\n${login('other')}`)
  await server.says(/(?:authentication error[^]*){3}/)
  await server.kill()
  const up = heard(engine, 'up')
  await server.start(login('right'))
  await up
  t.true(engine.isUp)
})

natsTest(
  'open() can be stopped while a broker takes the connection and says nothing',
  async (t) => {
    const server = await NatsServer.start(t)
    server.freeze()
    const here = cluster({
      engine: engineOf(server, { connect: { servers: server.address, timeout: 10_000 } }),
    })
    const opening = here.open()
    opening.catch(() => {})
    await once(process, 'never', { signal: AbortSignal.timeout(100) }).catch(() => {})
    const began = performance.now()
    await here.close()
    t.true(performance.now() - began < 8_000)
    await t.throwsAsync(opening, { any: true })
    server.thaw()
  },
)

natsTest('a server closes although its broker hangs', async (t) => {
  const server = await NatsServer.start(t)
  const connect = { servers: server.address, ...quick, pingInterval: 60_000 }
  const instance = await Instance.start(t, { cluster: { engine: nats({ connect }) } })
  await instance.connect('a')
  server.freeze()
  await instance.server.close({ timeout: 0 })
  server.thaw()
  t.false(instance.reported.some(([code]) => code === 'ERR_CIO_STUCK'))
})

natsTest(
  'without the connection of the application, devices are admitted as in an outage',
  async (t) => {
    const server = await NatsServer.start(t)
    const connection = await connect({ servers: server.address, maxReconnectAttempts: -1 })
    const instance = await Instance.start(t, { cluster: { engine: nats({ connection }) } })
    await instance.connect('a')
    await connection.close()
    const { ctx } = await instance.connect('b')
    t.false(ctx.registration.isConfirmed)
    await t.throwsAsync(instance.devices.send('c', 'x'), { code: 'ERR_CIO_CLUSTER_DOWN' })
  },
)

natsTest('a letter is stored, or too long, whatever its key and its id', async (t) => {
  const server = await NatsServer.start(t)
  const engine = engineOf(server)
  t.teardown(() => engine.close())
  await engine.open(signal)
  const bounds = { maxPerKey: 9, maxBytes: 9_000_000, maxAge: 60_000 }
  const letters = await engine.letters('box', bounds)
  const longest = encodeName('ä'.repeat(500))
  t.false((await letters.append(longest, Buffer.alloc(engine.maxPayload), longest)).isDuplicate)
  const long = letters.append(longest, Buffer.alloc(engine.maxPayload + 1), longest)
  await t.throwsAsync(long, { code: 'ERR_CIO_PAYLOAD_SIZE' })
})

natsTest('two prefixes on one broker have nothing in common', async (t) => {
  const server = await NatsServer.start(t)
  const [one, other] = [engineOf(server, { prefix: 'a' }), engineOf(server, { prefix: 'b' })]
  t.teardown(() => Promise.all([one.close(), other.close()]))
  await Promise.all([one.open(signal), other.open(signal)])
  other.subscribe('s', ({ reply }) => reply(Buffer.from('')))
  const table = await one.table('rows', { ttl: 60_000 })
  await table.put('k', Buffer.from('v'))
  const others = await other.table('rows', { ttl: 60_000 })
  t.is((await others.get('k'))?.value ?? null, null)
  const request = one.request('s', Buffer.from(''), { timeout: 5_000 })
  await t.throwsAsync(request, { code: 'ERR_CIO_NO_RESPONDER' })
})

test('nats() refuses options that are unknown or out of their range', (t) => {
  const bad = [
    { prefix: 'a.b' },
    { prefix: '' },
    { replicas: 0 },
    { replicas: 6 },
    { timeout: -1 },
    { server: 'x' },
    { connection: {}, connect: {} },
  ]
  for (const options of bad) {
    t.throws(
      () => nats(options as NatsOptions),
      { code: 'ERR_CIO_OPTION' },
      JSON.stringify(options),
    )
  }
})
