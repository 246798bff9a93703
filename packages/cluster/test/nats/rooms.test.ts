import test, { type TestFn } from 'ava'
import { roomsContract } from '../../../../test/contracts/rooms.ts'
import { cluster, rooms } from '../../src/index.ts'
import { nats } from '../../src/nats.ts'
import { NatsServer, natsServerPath } from '../support/nats-server.ts'

const withNats: TestFn = natsServerPath()
  ? test
  : (Object.assign(
      (title: string) => test.skip(`${title} (no nats-server)`, () => {}),
      test,
    ) as TestFn)

roomsContract(withNats, {
  create: async (t, options) => {
    const server = await NatsServer.start(t)
    return Array.from({ length: 2 }, () => {
      const here = cluster({ engine: nats({ connect: { servers: server.address } }) })
      return { rooms: rooms(here, options), prepare: (app) => void app.useServer(here) }
    })
  },
})
