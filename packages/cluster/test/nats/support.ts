/** Engines over one `nats-server`, which is killed and started again. */

import type { ExecutionContext } from 'ava'
import type { Engine } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import type { Engines } from '../support/engines.ts'
import { until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
import { Path } from '../support/path.ts'

const quick = { reconnectTimeWait: 50, timeout: 60_000 }

export async function natsEngines(t: ExecutionContext): Promise<Engines> {
  const server = await NatsServer.start(t)
  const paths = [await Path.open(t, server.port), await Path.open(t, server.port)] as const
  const made: Engine[] = []
  const pathOf = (engine: Engine): Path => paths[made.indexOf(engine)]!
  let hit: readonly Engine[] = []
  return {
    make: () => {
      const servers = (paths[made.length] ?? server).address
      const engine = nats({ connect: { servers, ...quick } })
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
    cut: async (engine) => {
      pathOf(engine).cut()
      await until(() => !engine.isUp)
    },
    heal: async (engine) => {
      pathOf(engine).heal()
      await until(() => engine.isUp)
    },
  }
}
