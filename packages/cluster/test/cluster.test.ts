import test, { type ExecutionContext } from 'ava'
import { Cio, type ServerContext, lines } from 'cio'
import type { EventEmitter } from 'node:events'
import { testApp } from 'cio/testing'
import {
  type Cluster,
  type ClusterOptions,
  type Engine,
  cluster,
  mailbox,
  memory,
  memoryHub,
  registry,
  rooms,
} from '../src/index.ts'
import { heard, until } from './support/heard.ts'

interface Instance {
  readonly here: Cluster
  readonly app: Cio
  readonly server: ServerContext
}

async function start(t: ExecutionContext, options: ClusterOptions): Promise<Instance> {
  const here = cluster(options)
  const app = new Cio().useServer(here)
  const server = await app.listen({ bind: false })
  t.teardown(() => server.close({ timeout: 0 }))
  return { here, app, server }
}

test('instances know each other, and hear of one that comes and one that leaves', async (t) => {
  const hub = memoryHub()
  const one = await start(t, { engine: memory(hub) })
  const came = heard(one.app, 'instanceUp')
  const other = await start(t, { engine: memory(hub) })
  const [instance] = await came
  t.is(instance.id, other.here.engine.instance)
  t.is(one.here.instances.size, 2)
  t.is(other.here.instances.size, 2)
  t.true(one.here.isAlive(other.here.engine.instance))
  const left = heard(one.app, 'instanceDown')
  await other.server.close()
  t.is((await left)[0].id, instance.id)
  t.false(one.here.isAlive(instance.id))
  t.is(one.here.instances.size, 1)
})

test('an instance that gives no sign of life counts as dead after leaseTimeout', async (t) => {
  const hub = memoryHub()
  const one = await start(t, { engine: memory(hub), leaseTimeout: 300 })
  const other = await start(t, { engine: memory(hub), leaseTimeout: 300 })
  const id = other.here.engine.instance
  await until(() => one.here.isAlive(id))
  const began = performance.now()
  const dead = heard(one.app, 'instanceDown')
  hub.cut(other.here.engine)
  t.is((await dead)[0].id, id)
  t.true(performance.now() - began > 150)
  t.false(one.here.isAlive(id))
  t.false(await one.here.checkAlive(id))
  const back = heard(one.app, 'instanceUp')
  hub.heal()
  t.is((await back)[0].id, id)
})

test('signs of life say how many connections an instance has', async (t) => {
  const hub = memoryHub()
  const one = await start(t, { engine: memory(hub) })
  const here = cluster({ engine: memory(hub), leaseTimeout: 300 })
  const app = new Cio().useServer(here).useConnection(lines())
  await using run = await testApp(app.useConnection((ctx) => ctx.messages.each(() => {})))
  await run.connect()
  await until(() => one.here.instances.get(here.engine.instance)?.connections === 2)
  t.pass()
})

test('connections stay when the broker goes, and events have the length of the gap', async (t) => {
  const hub = memoryHub()
  const engine = memory(hub)
  const here = cluster({ engine })
  const app = new Cio()
    .useServer(here)
    .useConnection(lines())
    .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line)))
  await using run = await testApp(app, { client: new Cio().useClient(lines()) })
  const down = heard(app, 'clusterDown')
  const began = performance.now()
  hub.cut(engine)
  t.is((await down)[0], here)
  await run.client.messages.send('still here')
  t.is((await run.client.messages.next()).value, 'still here')
  const up = heard(app, 'clusterUp')
  hub.heal()
  const [{ duration }] = await up
  t.true(duration > 0 && duration <= performance.now() - began)
  await run.client.messages.send('and after')
  t.is((await run.client.messages.next()).value, 'and after')
})

test('a server waits for the broker before it listens, unless it should not', async (t) => {
  const hub = memoryHub()
  const engine = memory(hub)
  hub.cut(engine)
  const waiting = cluster({ engine })
  const app = new Cio().useServer(waiting)
  const quiet = heard(app, 'clusterDown')
  let listens = false
  const listening = app.listen({ bind: false }).then((server) => {
    listens = true
    return server
  })

  const eager = memory(hub)
  hub.cut(eager)
  const impatient = new Cio().useServer(cluster({ engine: eager, whenDown: 'listen' }))
  const down = heard(impatient, 'clusterDown')
  const server = await impatient.listen({ bind: false })
  await Promise.all([quiet, down])
  t.false(listens)
  const up = heard(impatient, 'clusterUp')
  hub.heal()
  t.true((await up)[0].duration > 0)
  t.true((await listening).cluster.engine.isUp)
  await Promise.all([server.close(), (await listening).close()])
})

test('a server that is closed while it waits for the broker gives up', async (t) => {
  const hub = memoryHub()
  const engine = memory(hub)
  hub.cut(engine)
  const app = new Cio().useServer(cluster({ engine }))
  const listening = app.listen({ bind: false })
  await app.close()
  await t.throwsAsync(listening)
  hub.heal()
  t.false(engine.isUp)
})

test('an instance without a server opens by itself, and leaves with its last user', async (t) => {
  const hub = memoryHub()
  const one = await start(t, { engine: memory(hub) })
  const here = cluster({ engine: memory(hub) })
  await here.open()
  const app = new Cio().useServer(here)
  const server = await app.listen({ bind: false })
  t.is(here.instances.size, 2)
  await server.close()
  t.true(here.engine.isUp)
  const left = heard(one.app, 'instanceDown')
  await here.close()
  await left
  t.false(here.engine.isUp)
  const controller = new AbortController()
  controller.abort(new Error('enough'))
  await t.throwsAsync(here.open({ signal: controller.signal }), { message: 'enough' })
  t.false(here.engine.isUp)
})

test('whileUp() runs work at the start and after each gap, and tries again what fails', async (t) => {
  const hub = memoryHub()
  const engine = memory(hub)
  const here = cluster({ engine })
  const signals: AbortSignal[] = []
  const end = here.whileUp((signal) => {
    signals.push(signal)
    if (signals.length === 1) throw new Error('once')
  })
  await here.open()
  t.is(signals.length, 2)
  hub.cut(engine)
  t.true(signals[1]!.aborted)
  hub.heal()
  await until(() => signals.length === 3)
  end()
  hub.cut(engine)
  hub.heal()
  await here.close()
  t.is(signals.length, 3)
  t.true(signals[2]!.aborted)
})

test('work that fails ends what it has begun, before it is tried again', async (t) => {
  const here = cluster()
  let running = 0
  let most = 0
  let attempts = 0
  here.whileUp(async (signal) => {
    most = Math.max(most, ++running)
    signal.addEventListener('abort', () => (running -= 1))
    await Promise.resolve()
    if (++attempts < 3) throw new Error('not yet')
  })
  await here.open()
  t.is(attempts, 3)
  t.is(most, 1)
  t.is(running, 1)
  await here.close()
  t.is(running, 0)
})

test('a cluster can be closed and opened again, as another instance', async (t) => {
  const here = cluster()
  const app = new Cio().useServer(here)
  const first = await app.listen({ bind: false })
  const id = here.engine.instance
  await first.close()
  const second = await app.listen({ bind: false })
  t.not(here.engine.instance, id)
  t.deepEqual([...here.instances.keys()], [here.engine.instance])
  await second.close()
})

test('a cluster can be opened while it closes', async (t) => {
  const here = cluster()
  await here.open()
  const closing = here.close()
  await here.open()
  await closing
  t.true(here.engine.isUp)
  const closed = here.close()
  const opened = here.open()
  await Promise.all([t.throwsAsync(opened, { any: true }), here.close(), closed])
  t.false(here.engine.isUp)
})

test('a thousand starts and ends of a cluster leave nothing behind', async (t) => {
  const hub = memoryHub()
  const engine = memory(hub) as Engine & EventEmitter
  const here = cluster({ engine })
  registry(here)
  rooms(here)
  mailbox(here, { deliver: async () => {} })
  const listeners = (): number[] => ['down', 'up'].map((event) => engine.listenerCount(event))
  const before = listeners()
  for (let at = 0; at < 1_000; at++) {
    await here.open()
    hub.cut(engine)
    hub.heal()
    await here.close()
  }
  t.deepEqual(listeners(), before)
  const { subjects, tables } = hub as unknown as {
    subjects: Map<string, unknown>
    tables: Map<string, { all(): readonly unknown[] }>
  }
  t.is(subjects.size, 0)
  t.deepEqual(
    [...tables.values()].flatMap((table) => table.all()),
    [],
  )
})

test('the names of the parts of a cluster are plain, and each is there once', (t) => {
  const here = cluster()
  here.reserve('registry', 'devices')
  t.throws(() => here.reserve('rooms', 'devices'), { code: 'ERR_CIO_OPTION' })
  t.throws(() => here.reserve('rooms', 'a.b'), { code: 'ERR_CIO_OPTION' })
})

test('cluster() refuses options that are unknown or out of their range', (t) => {
  for (const options of [{ lease: 1 }, { leaseTimeout: 1 }, { leaseTimeout: Infinity }]) {
    t.throws(() => cluster(options as ClusterOptions), { code: 'ERR_CIO_OPTION' })
  }
  t.throws(() => cluster({ whenDown: 'refuse' as 'wait' }), { code: 'ERR_CIO_OPTION' })
})

test('a start that waits for something else than the connection emits clusterDown with the reason', async (t) => {
  const here = cluster()
  let isReady = false
  here.whileUp(() => {
    if (!isReady) throw new Error('no letters yet')
  })
  const app = new Cio().useServer(here)
  const down = heard(app, 'clusterDown')
  const up = heard(app, 'clusterUp')
  const listening = app.listen({ bind: false })
  t.regex(String((await down)[1]), /no letters yet/)
  isReady = true
  await up
  await (await listening).close()
})
