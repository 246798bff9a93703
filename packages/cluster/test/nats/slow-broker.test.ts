/** A broker that reads slowly, or not at all, while its connection lives. */

import { nats } from '../../src/nats.ts'
import { type Mailbox, mailbox, rooms } from '../../src/index.ts'
import { Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { Path } from '../support/path.ts'
import { natsTest } from '../support/with-nats.ts'

const message = new Uint8Array(900_000)
/** More than the bound of what may wait, and than the buffers of the kernel. */
const most = 150

natsTest(
  'what a broker does not read is bounded: later messages and calls are refused',
  async (t) => {
    const server = await NatsServer.start(t)
    const path = await Path.open(t, server.port)
    // It would notice the silence after minutes.
    const engine = nats({ connect: { servers: path.address, pingInterval: 60_000 } })
    let groups!: ReturnType<typeof rooms>
    const instance = await Instance.start(t, {
      cluster: { engine },
      inside: (here) => (groups = rooms(here)) as never,
    })
    path.hold()
    const send = (): void => engine.publish('rooms.all', message)
    const refused = { code: 'ERR_CIO_CLUSTER_DOWN' }
    let sent = 0
    const fill = async (): Promise<void> => {
      for (; sent < most; sent++) {
        send()
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await t.throwsAsync(fill, refused)
    t.true(sent > 60, String(sent))
    await t.throwsAsync(engine.request('rooms.all', message, { timeout: 60_000 }), refused)
    await t.throwsAsync(groups.send('all', 'x'), refused)
    await t.throwsAsync(instance.devices.send('away', 'x', { timeout: 60_000 }), refused)

    path.release()
    await until(() => {
      try {
        send()
        return true
      } catch {
        return false
      }
    })
    await t.throwsAsync(instance.devices.send('away', 'x'), { code: 'ERR_CIO_OFFLINE' })
    t.true(engine.isUp)
  },
)

natsTest(
  'with a broker that is far away, everything works and nothing counts as dead',
  async (t) => {
    const server = await NatsServer.start(t)
    const path = await Path.open(t, server.port)
    path.lag = 300
    const got: unknown[] = []
    let letters!: Mailbox<unknown>
    const start = (servers: string): Promise<Instance> =>
      Instance.start(t, {
        cluster: {
          engine: nats({ connect: { servers, pingInterval: 60_000 } }),
          leaseTimeout: 5_000,
        },
        inside: (here) =>
          (letters = mailbox(here, { deliver: async (_, { message }) => got.push(message) })),
      })
    const [far, near] = [await start(path.address), await start(server.address)]
    const said: string[] = []
    for (const { app } of [far, near]) {
      app
        .on('instanceDown', () => said.push('instanceDown'))
        .on('clusterDown', () => said.push('down'))
    }
    const first = await near.connect('sensor-7')
    const second = await far.connect('sensor-7')
    t.true(second.ctx.registration.isConfirmed)
    t.true(second.ctx.registration.revision > first.ctx.registration.revision)
    t.is(await first.ended, 'ERR_CIO_TAKEN_OVER')
    await near.devices.send('sensor-7', 'hello')
    t.is((await second.client.messages.next()).value, 'hello')
    const third = await near.connect('sensor-7')
    t.is(await second.ended, 'ERR_CIO_TAKEN_OVER')
    await far.devices.send('sensor-7', 'again')
    t.is((await third.client.messages.next()).value, 'again')
    await letters.send('sensor-7', 'a letter')
    await until(() => got.length === 1)
    t.true(await far.devices.evict('sensor-7'))
    await third.closed
    await until(async () => !(await far.devices.find('sensor-7')))
    t.deepEqual(said, [])
  },
)

natsTest('a connection that the broker does not read any more is replaced', async (t) => {
  const server = await NatsServer.start(t)
  const path = await Path.open(t, server.port)
  const connect = { servers: path.address, pingInterval: 200, reconnectTimeWait: 50 }
  const engine = nats({ connect })
  const instance = await Instance.start(t, { cluster: { engine } })
  const device = await instance.connect('sensor-7')
  // New connections pass. The kernel does not take all of this for the old one.
  path.hold()
  for (let sent = 0; sent < 40; sent++) engine.publish('rooms.all', message)
  await until(() => !engine.isUp)
  await until(() => engine.isUp)
  await until(async () => (await instance.devices.find('sensor-7').catch(() => {})) !== undefined)
  t.true(device.ctx.registration.isConfirmed)
})
