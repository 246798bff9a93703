import test from 'ava'
import { Cio, json } from 'cio'
import { duplexPair } from 'cio/testing'
import { roomsContract } from '../../../test/contracts/rooms.ts'
import {
  type Cluster,
  type RoomsOptions,
  cluster,
  encodeName,
  memory,
  memoryHub,
  rooms,
} from '../src/index.ts'
import { until } from './support/heard.ts'

roomsContract(test, {
  create: (_, options) => {
    const hub = memoryHub()
    return Array.from({ length: 3 }, () => {
      const here = cluster({ engine: memory(hub) })
      return { rooms: rooms(here, options), prepare: (app) => void app.useServer(here) }
    })
  },
})

async function open(t: { teardown(end: () => unknown): void }, count: number) {
  const hub = memoryHub()
  const make = async () => {
    const here: Cluster = cluster({ engine: memory(hub) })
    const floors = rooms(here)
    const app = new Cio()
      .useServer(here)
      .useConnection(json<string>())
      .useConnection(floors)
      .useConnection((ctx) => ctx.messages.each((room) => ctx.rooms.join(room)))
    const errors: unknown[] = []
    app.on('error', (error) => errors.push((error as { code?: string }).code))
    const server = await app.listen({ bind: false })
    t.teardown(() => server.close({ timeout: 0 }))
    const join = async (room: string) => {
      const before = floors.members(room).size
      const client = await new Cio().useClient(json()).connect({
        createConnection: () => {
          const [near, far] = duplexPair()
          server.accept(near)
          return far
        },
      })
      await client.messages.send(room)
      await until(() => floors.members(room).size > before)
      return client
    }
    return { here, floors, join, errors }
  }
  return { hub, instances: await Promise.all(Array.from({ length: count }, make)) }
}

test('without a broker, local members get a message and send() rejects', async (t) => {
  const { hub, instances } = await open(t, 2)
  const [one, other] = instances
  const near = await one!.join('red')
  const far = await other!.join('red')
  hub.cut(one!.here.engine)
  await t.throwsAsync(one!.floors.send('red', 'to some'), { code: 'ERR_CIO_CLUSTER_DOWN' })
  t.is((await near.messages.next()).value, 'to some')
  t.deepEqual(await one!.floors.send('red', 'local', { local: true }), { members: 1 })
  t.is((await near.messages.next()).value, 'local')
  hub.heal()
  t.deepEqual(await one!.floors.send('red', 'to all'), { members: 1 })
  t.is((await near.messages.next()).value, 'to all')
  t.is((await far.messages.next()).value, 'to all')
})

test('a send() that nothing awaits is reported, and ends no process', async (t) => {
  const { hub, instances } = await open(t, 1)
  const [one] = instances
  await one!.join('red')
  hub.cut(one!.here.engine)
  void one!.floors.send('red', 'x')
  void one!.floors.send('empty', 'x')
  await until(() => one!.errors.includes('ERR_CIO_CLUSTER_DOWN'))
  t.deepEqual(one!.errors, ['ERR_CIO_CLUSTER_DOWN'])
})

test('a value that cannot travel reaches no member', async (t) => {
  const { instances } = await open(t, 1)
  const [one] = instances
  const near = await one!.join('red')
  await t.throwsAsync(one!.floors.send('red', new Map()), { code: 'ERR_CIO_ENCODE' })
  const long = Buffer.alloc(1024 * 1024)
  await t.throwsAsync(one!.floors.send('red', long), { code: 'ERR_CIO_PAYLOAD_SIZE' })
  await one!.floors.send('red', 'first')
  t.is((await near.messages.next()).value, 'first')
})

test('an instance listens to a room as long as it has a member in it', async (t) => {
  const { hub, instances } = await open(t, 1)
  const outside = memory(hub)
  await outside.open(new AbortController().signal)
  const subject = `rooms.${encodeName('a.*')}`
  const ask = (): Promise<unknown> => outside.request(subject, Buffer.of(9), { timeout: 50 })
  await t.throwsAsync(ask(), { code: 'ERR_CIO_NO_RESPONDER' })
  const client = await instances[0]!.join('a.*')
  // It listens, and a frame of another version is ignored.
  await t.throwsAsync(ask(), { code: 'ERR_CIO_CALL_TIMEOUT' })
  await client.close()
  await until(() => instances[0]!.floors.members('a.*').size === 0)
  await t.throwsAsync(ask(), { code: 'ERR_CIO_NO_RESPONDER' })
  await outside.close()
})

test('a client that is in a room stays in it when its cluster is closed and opened again', async (t) => {
  const { hub, instances } = await open(t, 1)
  const here = cluster({ engine: memory(hub) })
  const floors = rooms(here)
  const [near, far] = duplexPair()
  const got: unknown[] = []
  const server = await new Cio()
    .useConnection(json())
    .useConnection((ctx) => ctx.messages.each((message) => void got.push(message)))
    .listen({ bind: false })
  t.teardown(() => server.close({ timeout: 0 }))
  server.accept(far)
  await here.open()
  const app = new Cio()
    .useClient(json())
    .useClient(floors)
    .useClient(async (ctx, next) => {
      await ctx.rooms.join('red')
      await next()
    })
  const client = await app.connect({ createConnection: () => near })
  await until(() => floors.members('red').size > 0)
  await here.close()
  await here.open()
  await instances[0]!.floors.send('red', 'hello')
  await until(() => got.length > 0)
  t.deepEqual(got, ['hello'])
  await client.close()
  await here.close()
})

test('rooms() refuses options that are unknown or out of their range', (t) => {
  const here = cluster()
  for (const options of [{ slice: 1 }, { maxRooms: -1 }, { name: 'a.b' }]) {
    t.throws(() => rooms(here, options as RoomsOptions), { code: 'ERR_CIO_OPTION' })
  }
  rooms(here)
  t.throws(() => rooms(here), { code: 'ERR_CIO_OPTION' })
})
