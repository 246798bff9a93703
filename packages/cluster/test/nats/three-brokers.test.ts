/** A cluster of three brokers, of which one dies: `replicas: 3` keeps names and letters. */

import { jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import type { ExecutionContext } from 'ava'
import { ownPort } from '../../../../test/support/ports.ts'
import { type Mailbox, type Table, mailbox } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import { Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'

async function brokers(t: ExecutionContext): Promise<NatsServer[]> {
  const ports = [await ownPort(), await ownPort(), await ownPort()]
  const routes = ports.map((port) => `nats-route://127.0.0.1:${port}`).join(', ')
  return Promise.all(
    ports.map((port, at) =>
      NatsServer.start(
        t,
        `server_name: broker-${at}
         cluster { name: three, listen: "127.0.0.1:${port}", routes: [${routes}] }`,
      ),
    ),
  )
}

natsTest('names and letters survive the loss of one of three brokers', async (t) => {
  const all = await brokers(t)
  const got: unknown[] = []
  let letters!: Mailbox<unknown>
  // Each has its own broker first.
  const start = (at: number): Promise<Instance> => {
    const servers = [...all.slice(at), ...all.slice(0, at)].map(({ address }) => address)
    const connect = { servers, noRandomize: true, reconnectTimeWait: 50 }
    return Instance.start(t, {
      cluster: { engine: nats({ connect, replicas: 3, timeout: 10_000 }) },
      handoverTimeout: 2_000,
      inside: (here) =>
        (letters = mailbox(here, { deliver: async (_, { message }) => got.push(message) })),
    })
  }
  const one = await start(0)
  const other = await start(1)
  const first = await one.connect('sensor-7')
  const kept: number[] = []
  const send = async (from: number, to: number): Promise<void> => {
    for (let at = from; at < to; at++) {
      // A broker without a leader answers late, or not.
      while (!kept.includes(at)) {
        await letters.send('away', at, { id: String(at) }).then(
          () => kept.push(at),
          (error: { readonly code?: string }) => t.is(error.code, 'ERR_CIO_CLUSTER_DOWN'),
        )
      }
    }
  }
  await send(0, 20)
  const began = performance.now()
  await all[0]!.kill()
  await send(20, 40)
  t.log(`one broker killed: 20 letters more after ${Math.round(performance.now() - began)} ms`)
  await until(() => one.engine.isUp && other.engine.isUp)
  const second = await other.connect('sensor-7')
  t.is(await first.ended, 'ERR_CIO_TAKEN_OVER')
  await until(() => second.ctx.registration.isConfirmed)
  t.true(second.ctx.registration.revision > first.ctx.registration.revision)
  await one.devices.send('sensor-7', 'by another broker')
  t.is((await second.client.messages.next()).value, 'by another broker')
  await one.connect('away')
  await until(() => got.length >= 40)
  t.deepEqual(
    got,
    Array.from({ length: 40 }, (_, at) => at),
  )
})

natsTest(
  'a watch goes on when the broker that serves it dies, and the connection stays',
  async (t) => {
    const all = await brokers(t)
    const servers = all[0]!.address
    const engine = nats({ connect: { servers }, replicas: 3 })
    const { signal } = new AbortController()
    await engine.open(signal)
    t.teardown(() => engine.close())
    let isDown = false
    engine.on('down', () => (isDown = true))
    let table: Table | undefined
    // The brokers have to elect a leader first.
    while (!table) table = await engine.table('names', { ttl: 600_000 }).catch(() => undefined)
    const connection = await connect({ servers })
    t.teardown(() => connection.close())
    const { consumers } = await jetstreamManager(connection)
    const seen: string[][] = []
    let serving = 0
    while (serving === 0) {
      const keys: string[] = []
      seen.push(keys)
      await table.watch(({ key }) => keys.push(key), { signal })
      for await (const { cluster } of consumers.list('KV_cio_names')) {
        serving ||= Number(/broker-(\d)/.exec(cluster?.leader ?? '')?.[1] ?? 0)
      }
    }
    await table.put('before', Buffer.of(1))
    await until(() => seen.every(({ length }) => length === 1))
    await all[serving]!.kill()
    let isPut = false
    while (!isPut) isPut = await table.put('after', Buffer.of(1)).then(Boolean, () => false)
    const began = performance.now()
    await until(() => seen.every((keys) => keys.includes('after')))
    const time = Math.round(performance.now() - began)
    t.log(`the watch had the change after ${time} ms`)
    // Without a check of its own, nats.js takes 90 s.
    t.true(time < 60_000)
    t.false(isDown)
    t.deepEqual(new Set(seen.flat()), new Set(['before', 'after']))
  },
)
