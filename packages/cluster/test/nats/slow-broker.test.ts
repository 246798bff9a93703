/** A broker that reads slowly, or not at all, while its connection lives. */

import { nats } from '../../src/nats.ts'
import { rooms } from '../../src/index.ts'
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
