import type { ExecutionContext } from 'ava'
import { nats } from '../../src/nats.ts'
import { type FleetOptions, Instance } from '../support/fleet.ts'
import { heard, until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'

const quick = { reconnectTimeWait: 50, timeout: 60_000 }

async function fleet(
  t: ExecutionContext,
  options: FleetOptions = {},
): Promise<{ server: NatsServer; one: Instance; other: Instance }> {
  const server = await NatsServer.start(t)
  const start = (): Promise<Instance> => {
    const engine = nats({ connect: { servers: server.address, ...quick }, timeout: 60_000 })
    return Instance.start(t, { ...options, cluster: { engine, ...options.cluster } })
  }
  return { server, one: await start(), other: await start() }
}

natsTest('over NATS, send, call, evict and presence reach any instance', async (t) => {
  const { one, other } = await fleet(t, { rpc: true })
  const device = await other.connect('sensor 7.*')
  t.is(await one.devices.call('sensor 7.*', 'add', [1, 2]), 3)
  t.is((await one.devices.find('sensor 7.*'))?.instance, other.engine.instance)
  const keys: string[] = []
  for await (const { key } of one.devices.list()) keys.push(key)
  t.deepEqual(keys, ['sensor 7.*'])
  t.true(await one.devices.evict('sensor 7.*'))
  t.is(await device.ended, 'ERR_CIO_EVICTED')
  await until(async () => (await one.devices.find('sensor 7.*')) === undefined)
  const began = performance.now()
  const call = one.devices.call('sensor 7.*', 'whoAmI', undefined, { timeout: 600_000 })
  await t.throwsAsync(call, { code: 'ERR_CIO_OFFLINE' })
  t.true(performance.now() - began < 60_000)
})

natsTest('over NATS, the newest of two connections stays, on any instance', async (t) => {
  const { one, other } = await fleet(t)
  const first = await one.connect('sensor-7')
  const second = await other.connect('sensor-7')
  t.is(await first.ended, 'ERR_CIO_TAKEN_OVER')
  const third = await other.connect('sensor-7')
  t.is(await second.ended, 'ERR_CIO_TAKEN_OVER')
  t.true(second.ctx.registration.revision > first.ctx.registration.revision)
  t.true(third.ctx.registration.revision > second.ctx.registration.revision)
  await one.devices.send('sensor-7', 'to the third')
  t.is((await third.client.messages.next()).value, 'to the third')
})

natsTest(
  'over NATS, connections stay when the broker dies, and are verified when it is back',
  async (t) => {
    const { server, one, other } = await fleet(t)
    const before = await one.connect('before')
    const { revision } = before.ctx.registration
    const down = Promise.all([heard(one.app, 'clusterDown'), heard(other.app, 'clusterDown')])
    await server.kill()
    await down
    const during = await other.connect('during')
    t.false(during.ctx.registration.isConfirmed)
    await one.devices.send('before', 'local')
    t.is((await before.client.messages.next()).value, 'local')
    await t.throwsAsync(other.devices.send('before', 'x'), { code: 'ERR_CIO_CLUSTER_DOWN' })
    const up = Promise.all([heard(one.app, 'clusterUp'), heard(other.app, 'clusterUp')])
    await server.start()
    const [[gap]] = await up
    t.true(gap.duration > 0)
    await until(() => during.ctx.registration.isConfirmed)
    await one.devices.send('during', 'after')
    t.is((await during.client.messages.next()).value, 'after')
    await until(() =>
      other.devices.send('before', 'after').then(
        () => true,
        () => false,
      ),
    )
    t.is(before.ctx.registration.revision, revision)
    t.false(before.ctx.isClosed)
  },
)

natsTest('over NATS, a broker that has lost its store gets all names again', async (t) => {
  const { server, one, other } = await fleet(t)
  const device = await one.connect('sensor-7')
  const down = heard(one.app, 'clusterDown')
  await server.kill()
  server.forget()
  await down
  await server.start()
  await until(
    async () => (await other.devices.find('sensor-7').catch(() => undefined)) !== undefined,
  )
  await other.devices.send('sensor-7', 'still here')
  t.is((await device.client.messages.next()).value, 'still here')
})

natsTest('over NATS, an instance that left is not waited for', async (t) => {
  const { one, other } = await fleet(t, { handoverTimeout: 600_000 })
  const device = await other.connect('sensor-7')
  await other.server.close({ timeout: 0 })
  await device.closed
  const again = await one.connect('sensor-7')
  t.true(again.ctx.registration.revision > device.ctx.registration.revision)
})
