/** A broker that hangs, and a path to it on which nothing passes: no connection ends, and no sign comes. */

import { setTimeout as delay } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { nats } from '../../src/nats.ts'
import { Instance } from '../support/fleet.ts'
import { heard, until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { Path } from '../support/path.ts'
import { natsTest } from '../support/with-nats.ts'

const leaseTimeout = 900

async function start(
  t: ExecutionContext,
  servers: string,
): Promise<{ instance: Instance; gone: string[] }> {
  // It would notice the silence after minutes.
  const engine = nats({ connect: { servers, pingInterval: 60_000 } })
  const instance = await Instance.start(t, { cluster: { engine, leaseTimeout } })
  const gone: string[] = []
  instance.app.on('instanceDown', ({ id }) => gone.push(id))
  return { instance, gone }
}

natsTest('while a broker hangs, no instance takes the others for dead', async (t) => {
  const server = await NatsServer.start(t)
  const [one, other] = [await start(t, server.address), await start(t, server.address)]
  await until(() => one.instance.here.instances.size === 2)
  server.freeze()
  await delay(3 * leaseTimeout)
  t.true(one.instance.here.isAlive(other.instance.engine.instance))
  server.thaw()
  await delay(2 * leaseTimeout)
  t.deepEqual([one.gone, other.gone], [[], []])
  const { id } = other.instance.here.instances.get(other.instance.engine.instance)!
  const down = heard(one.instance.app, 'instanceDown')
  await other.instance.server.close({ timeout: 0 })
  t.is((await down)[0].id, id)
})

natsTest(
  'an instance from which nothing passes is dead for others, and they not for it',
  async (t) => {
    const server = await NatsServer.start(t)
    const path = await Path.open(t, server.port)
    const [far, near] = [await start(t, path.address), await start(t, server.address)]
    await until(() => far.instance.here.instances.size === 2)
    const down = heard(near.instance.app, 'instanceDown')
    path.hold()
    t.is((await down)[0].id, far.instance.engine.instance)
    await delay(2 * leaseTimeout)
    t.deepEqual(far.gone, [])
    const up = heard(near.instance.app, 'instanceUp')
    path.release()
    t.is((await up)[0].id, far.instance.engine.instance)
    await delay(2 * leaseTimeout)
    t.deepEqual([far.gone, near.gone], [[], [far.instance.engine.instance]])
  },
)
