/** A broker that is killed again and again: afterwards, each instance finds and claims. */

import { mkdirSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { nats } from '../../src/nats.ts'
import { Instance } from '../support/fleet.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { natsTest } from '../support/with-nats.ts'

const quick = { pingInterval: 200, maxPingOut: 2, reconnectTimeWait: 50, timeout: 2_000 }

natsTest('each instance finds and claims after any restarts of the broker', async (t) => {
  const server = await NatsServer.start(t)
  const start = (): Promise<Instance> => {
    const engine = nats({ connect: { servers: server.address, ...quick }, timeout: 2_000 })
    return Instance.start(t, { cluster: { engine, leaseTimeout: 1_000 } })
  }
  const all = await Promise.all([start(), start(), start()])
  await all[0].connect('device')
  const restarts: Record<string, () => Promise<void>> = {
    'with what it has stored': () => server.start(),
    'with an empty store': async () => {
      server.forget()
      mkdirSync(server.store)
      await server.start()
    },
    'after seconds': async () => {
      await delay(3_000)
      await server.start()
    },
    'while the instances connect': async () => {
      for (const pause of [0, 30, 80, 150]) {
        await server.start()
        await delay(pause)
        await server.kill()
      }
      await server.start()
    },
    'before it is ready': async () => {
      for (const pause of [5, 30, 80]) {
        void server.start().catch(() => {})
        await delay(pause)
        await server.kill()
      }
      await server.start()
    },
    'while it hangs': async () => {
      await server.start()
      server.freeze()
      await delay(1_000)
      await server.kill()
      await server.start()
    },
  }
  for (const [how, restart] of Object.entries(restarts)) {
    await server.kill()
    await restart()
    for (const [at, one] of all.entries()) {
      await until(async () => (await one.devices.find('device').catch(() => {})) !== undefined)
      const claimed = await one.connect(`new-${at}, ${how}`)
      await until(() => claimed.ctx.registration.isConfirmed)
    }
    t.log(how)
  }
  t.pass()
})
