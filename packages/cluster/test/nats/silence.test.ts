/** A broker that hangs, and a path to it on which nothing passes: no connection ends, and no sign comes. */

import { type Socket, type Server, connect, createServer } from 'node:net'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import { nats } from '../../src/nats.ts'
import { Instance } from '../support/fleet.ts'
import { heard, until } from '../support/heard.ts'
import { NatsServer } from '../support/nats-server.ts'
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

/** A path to the broker that can hold back all that passes. */
class Path {
  readonly #server: Server
  readonly #sockets: Socket[] = []

  static async open(t: ExecutionContext, port: number): Promise<Path> {
    const path = new Path(port)
    await once(path.#server.listen(0, '127.0.0.1'), 'listening')
    t.teardown(() => {
      path.#server.close()
      for (const socket of path.#sockets) socket.destroy()
    })
    return path
  }

  private constructor(port: number) {
    this.#server = createServer((near) => {
      const far = connect(port, '127.0.0.1')
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.push(from)
        from.on('error', () => {}).on('data', (chunk) => to.write(chunk))
        from.on('close', () => to.destroy())
      }
    })
  }

  get address(): string {
    const { port } = this.#server.address() as { port: number }
    return `127.0.0.1:${port}`
  }

  hold(): void {
    for (const socket of this.#sockets) socket.pause()
  }

  release(): void {
    for (const socket of this.#sockets) socket.resume()
  }
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
