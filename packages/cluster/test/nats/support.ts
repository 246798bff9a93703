/** Engines over one `nats-server`, which is killed and started again. */

import type { ExecutionContext } from 'ava'
import type { Engine } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import type { Engines } from '../support/engines.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'

const quick = { pingInterval: 500, maxPingOut: 4, reconnectTimeWait: 50, timeout: 5_000 }

export async function natsEngines(t: ExecutionContext): Promise<Engines> {
  const server = await NatsServer.start(t)
  const made: Engine[] = []
  let hit: readonly Engine[] = []
  return {
    make: () => {
      const engine = nats({ connect: { servers: server.address, ...quick } })
      made.push(engine)
      return engine
    },
    down: async () => {
      hit = made.filter(({ isUp }) => isUp)
      await server.kill()
      await until(() => hit.every(({ isUp }) => !isUp))
    },
    up: async () => {
      await server.start()
      await until(() => hit.every(({ isUp }) => isUp))
    },
  }
}
