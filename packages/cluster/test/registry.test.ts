import test, { type ExecutionContext } from 'ava'
import { Cio, CioError, json, rpc } from 'cio'
import { duplexPair } from 'cio/testing'
import {
  type Registry,
  type RegistryOptions,
  cluster,
  memory,
  memoryHub,
  registry,
} from '../src/index.ts'
import type { MemoryHub, PresenceChange } from '../src/index.ts'
import { type FleetOptions, Instance, type Methods } from './support/fleet.ts'
import { heard, until } from './support/heard.ts'

/** Several instances on one hub. */
async function fleet(
  t: ExecutionContext,
  count: number,
  options: FleetOptions = {},
): Promise<{ hub: MemoryHub; instances: Instance[] }> {
  const hub = memoryHub()
  const instances: Instance[] = []
  for (let at = 0; at < count; at++) {
    const ofCluster = { engine: memory(hub), ...options.cluster }
    instances.push(await Instance.start(t, { ...options, cluster: ofCluster }))
  }
  return { hub, instances }
}

test('send reaches a device by its name from any instance', async (t) => {
  const { instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  const device = await other.connect('sensor-7')
  await one.devices.send('sensor-7', { type: 'alarm' })
  t.deepEqual((await device.client.messages.next()).value, { type: 'alarm' })
  await other.devices.send('sensor-7', 'from its own instance')
  t.is((await device.client.messages.next()).value, 'from its own instance')
})

test('send says at once that a device is offline', async (t) => {
  const { instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  const send = (): Promise<void> => one.devices.send('sensor-7', 'x', { timeout: 600_000 })
  await t.throwsAsync(send(), { code: 'ERR_CIO_OFFLINE' })
  const device = await other.connect('sensor-7')
  await send()
  await device.client.close({ timeout: 0 })
  await device.closed
  await until(async () => (await one.devices.find('sensor-7')) === undefined)
  await t.throwsAsync(send(), { code: 'ERR_CIO_OFFLINE' })
})

test('send says that a device is unreachable if its instance is alive and does not answer', async (t) => {
  const { hub, instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  await other.connect('sensor-7')
  // As an instance that hangs: its row and its sign of life are there, and nothing answers.
  hub.cut(other.engine)
  const send = one.devices.send('sensor-7', 'x', { timeout: 300 })
  await t.throwsAsync(send, { code: 'ERR_CIO_UNREACHABLE' })
  hub.heal()
  await one.devices.send('sensor-7', 'x')
})

test('a device of a dead instance is offline', async (t) => {
  const { hub, instances } = await fleet(t, 2, { cluster: { leaseTimeout: 300 } })
  const [one, other] = instances as [Instance, Instance]
  await other.connect('sensor-7')
  const down = heard(one.app, 'instanceDown')
  hub.cut(other.engine)
  await down
  await t.throwsAsync(one.devices.send('sensor-7', 'x'), { code: 'ERR_CIO_OFFLINE' })
  t.is(await one.devices.find('sensor-7'), undefined)
})

test('call passes the result of a device on, and its errors', async (t) => {
  const { instances } = await fleet(t, 2, { rpc: true })
  const [one, other] = instances as [Instance, Instance]
  await other.connect('sensor-7')
  for (const { devices } of instances) {
    t.is(await devices.call('sensor-7', 'add', [1, 2]), 3)
    t.is(await devices.call('sensor-7', 'whoAmI'), 'sensor-7')
    const error = await t.throwsAsync(devices.call('sensor-7', 'fail'), { code: 'ERR_CIO_RPC' })
    t.is((error.cause as { code: number }).code, -32_603)
    await t.throwsAsync(devices.call('sensor-8', 'whoAmI'), { code: 'ERR_CIO_OFFLINE' })
  }
  t.deepEqual(one.reported, [])
})

/** A device that answers each call with the same text, by hand. */
async function answering(instance: Instance, name: string, answer: string): Promise<void> {
  const { client } = await instance.connect(name)
  client.stream.removeAllListeners('data').on('data', (chunk: Buffer) => {
    const { id } = JSON.parse(String(chunk)) as { id: number }
    client.stream.write(`{"jsonrpc":"2.0","id":${id},${answer}}\n`)
  })
}

// `json` reads it; what goes from instance to instance has 100 levels at most.
const deep = '['.repeat(900) + ']'.repeat(900)
// Written out, each number is four times as long.
const long = `[${'1e20,'.repeat(100_000)}1]`
for (const [what, answer, code] of [
  [
    'an error with data that is nested too deeply',
    `"error":{"code":1,"message":"no","data":${deep}}`,
    1,
  ],
  ['an error that is too long for a frame', `"error":{"code":1,"message":"no","data":${long}}`, 1],
  ['a result that is nested too deeply', `"result":${deep}`, 'ERR_CIO_ENCODE'],
] as const) {
  test(`the caller gets an answer, and the instance goes on, after ${what}`, async (t) => {
    const options = { rpc: true, cluster: {} }
    const { instances } = await fleet(t, 2, options)
    const [one, other] = instances as [Instance, Instance]
    await answering(other, 'sensor-7', answer)
    const error = await t.throwsAsync<CioError>(one.devices.call('sensor-7', 'whoAmI'))
    t.is(typeof code === 'number' ? (error.cause as { code: number }).code : error.code, code)
    await other.connect('sensor-8')
    t.is(await one.devices.call('sensor-8', 'whoAmI'), 'sensor-8')
  })
}

// AVA fails a file in whose process a rejection is unhandled.
test('no method needs an await when its device is gone', async (t) => {
  const { hub, instances } = await fleet(t, 2, { rpc: true })
  const [one, other] = instances as [Instance, Instance]
  const use = (): void => {
    void one.devices.send('sensor-7', 'x', { timeout: 100 })
    void one.devices.call('sensor-7', 'wait', undefined, { timeout: 100 })
    void one.devices.evict('sensor-8', { timeout: 100 })
    void one.devices.find('sensor-7')
  }
  use()
  const device = await other.connect('sensor-7')
  use()
  await device.client.close({ timeout: 0 })
  await device.closed
  use()
  hub.cut(other.engine)
  use()
  hub.cut(one.engine)
  use()
  await t.throwsAsync(one.devices.send('sensor-7', 'x'), { code: 'ERR_CIO_CLUSTER_DOWN' })
  hub.heal()
  await until(() => one.engine.isUp && other.engine.isUp)
  await t.throwsAsync(one.devices.call('sensor-9', 'wait'), { code: 'ERR_CIO_OFFLINE' })
})

test('a call that times out or is aborted is cancelled at the device', async (t) => {
  const { instances } = await fleet(t, 2, { rpc: true })
  const [one, other] = instances as [Instance, Instance]
  const { ctx } = await other.connect('sensor-7')
  for (const { devices } of instances) {
    const late = devices.call('sensor-7', 'wait', undefined, { timeout: 50 })
    await t.throwsAsync(late, { code: 'ERR_CIO_CALL_TIMEOUT' })
    const { signal, abort } = controllerOf()
    const aborted = devices.call('sensor-7', 'wait', undefined, { signal })
    abort(new Error('enough'))
    await t.throwsAsync(aborted, { message: 'enough' })
    // Calls that wait at the device would keep its pipeline.
    t.is(await devices.call('sensor-7', 'add', [1, 1]), 2)
  }
  await ctx.close({ timeout: 10_000 })
  t.deepEqual(one.reported, [])
})

test('many calls may share a signal (nodejs/undici#3157)', async (t) => {
  const warnings: Error[] = []
  const warn = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warn)
  t.teardown(() => process.off('warning', warn))
  const { instances } = await fleet(t, 2, { rpc: true })
  const [one, other] = instances as [Instance, Instance]
  await other.connect('sensor-7')
  const { signal } = controllerOf()
  const call = (): Promise<unknown> => one.devices.call('sensor-7', 'add', [1, 1], { signal })
  await Promise.all(Array.from({ length: 20 }, call))
  await new Promise(setImmediate)
  t.deepEqual(warnings, [])
})

test('a device without rpc takes messages and refuses calls', async (t) => {
  const { instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  await other.connect('sensor-7')
  for (const { devices } of [one, other]) {
    await t.throwsAsync(devices.call('sensor-7', 'whoAmI'), { code: 'ERR_CIO_NO_RPC' })
  }
})

test('the newest of two connections stays, and the one before has returned by then', async (t) => {
  for (const at of [0, 1]) {
    const returned: string[] = []
    const { instances } = await fleet(t, 2, {
      handler: async (ctx) => {
        await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve))
        await new Promise((resolve) => setTimeout(resolve, 50))
        returned.push('first')
      },
      handoverTimeout: 60_000,
    })
    const first = await instances[0]!.connect('sensor-7')
    const takeover = heard(instances[at]!.app, 'takeover')
    const second = await instances[at]!.connect('sensor-7')
    t.deepEqual(returned, ['first'])
    t.is(await first.ended, 'ERR_CIO_TAKEN_OVER')
    const [before, ctx, key] = await takeover
    t.is(before.instance, instances[0]!.engine.instance)
    t.is(ctx, second.ctx)
    t.is(key, 'sensor-7')
    t.true(second.ctx.registration.revision > before.revision)
    t.true(second.ctx.registration.isConfirmed)
    await instances[1 - at]!.devices.send('sensor-7', 'to the newest')
    t.is((await second.client.messages.next()).value, 'to the newest')
  }
})

test('a newcomer waits no longer than handoverTimeout for one that does not let go', async (t) => {
  for (const at of [0, 1]) {
    let release = (): void => {}
    const hangs = new Promise<void>((resolve) => (release = resolve))
    let isFirst = true
    const { instances } = await fleet(t, 2, {
      handler: async (ctx) => {
        if (isFirst) {
          isFirst = false
          await hangs
        } else await new Promise((resolve) => ctx.draining.addEventListener('abort', resolve))
      },
      handoverTimeout: 200,
    })
    await instances[0]!.connect('sensor-7')
    const began = performance.now()
    const second = await instances[at]!.connect('sensor-7')
    t.true(performance.now() - began >= 190)
    t.true(second.ctx.registration.isConfirmed)
    release()
  }
})

test('the revision of a key rises with each claim, over releases and instances', async (t) => {
  const { instances } = await fleet(t, 2, { takeovers: { count: Infinity, per: 1_000 } })
  const revisions: number[] = []
  for (let turn = 0; turn < 6; turn++) {
    const device = await instances[turn % 2]!.connect('sensor-7')
    revisions.push(device.ctx.registration.revision)
    if (turn % 3 === 0) await device.client.close()
  }
  t.deepEqual(
    revisions,
    revisions.toSorted((a, b) => a - b),
  )
  t.is(new Set(revisions).size, 6)
})

test('with oldest, the newcomer is rejected, until the one before has ended', async (t) => {
  const { instances } = await fleet(t, 2, { duplicates: 'oldest' })
  const [one, other] = instances as [Instance, Instance]
  const first = await one.connect('sensor-7')
  for (const instance of [one, other]) {
    const second = await instance.dial('sensor-7')
    t.is(await second.ended, 'ERR_CIO_DUPLICATE')
  }
  await other.devices.send('sensor-7', 'still the first')
  t.is((await first.client.messages.next()).value, 'still the first')
  await first.client.close()
  await first.closed
  const third = await other.connect('sensor-7')
  t.true(third.ctx.registration.isConfirmed)
})

test('a key that is taken over too often makes newcomers wait, and conflict reports it', async (t) => {
  const { instances } = await fleet(t, 1, { takeovers: { count: 2, per: 600_000 } })
  const [one] = instances as [Instance]
  for (let turn = 0; turn < 3; turn++) await one.connect('sensor-7')
  const conflict = heard(one.app, 'conflict')
  const waiting = await one.dial('sensor-7')
  const [delay, ctx, key] = await conflict
  t.true(delay > 100_000)
  t.is(key, 'sensor-7')
  t.is(ctx.state.name, 'sensor-7')
  await ctx.close({ timeout: 0 })
  await waiting.closed
})

test('of the newcomers that wait for a key, the newest one stays', async (t) => {
  const { instances } = await fleet(t, 1, { takeovers: { count: 1, per: 600_000 } })
  const [one] = instances as [Instance]
  let conflicts = 0
  one.app.on('conflict', () => void (conflicts += 1))
  await one.connect('sensor-7')
  const { ctx } = await one.connect('sensor-7')
  const waiting = []
  for (let at = 1; at <= 20; at++) {
    waiting.push(await one.dial('sensor-7'))
    await until(() => conflicts === at)
  }
  const last = waiting.pop()!
  for (const { ended } of waiting) t.is(await ended, 'ERR_CIO_TAKEN_OVER')
  t.false(ctx.isClosed)
  await ctx.close()
  last.client.destroy()
})

test('without a broker, connections are admitted and claimed when it is back', async (t) => {
  const { hub, instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  hub.cut(one.engine)
  const device = await one.connect('sensor-7')
  t.false(device.ctx.registration.isConfirmed)
  t.is(device.ctx.registration.revision, 0)
  await one.devices.send('sensor-7', 'local')
  t.is((await device.client.messages.next()).value, 'local')
  const started = performance.now()
  await t.throwsAsync(one.devices.send('sensor-8', 'x'), { code: 'ERR_CIO_CLUSTER_DOWN' })
  t.true(performance.now() - started < 4_000)
  hub.heal()
  await until(() => device.ctx.registration.isConfirmed)
  t.true(device.ctx.registration.revision > 0)
  await other.devices.send('sensor-7', 'from the other')
  t.is((await device.client.messages.next()).value, 'from the other')
})

test('names are found, with one watch, while those that are held cannot be verified', async (t) => {
  const hub = memoryHub()
  const engine = memory(hub)
  const open = engine.table.bind(engine)
  let watches = 0
  let failures = 0
  engine.table = async (name, options) => {
    const table = await open(name, options)
    if (name !== 'devices') return table
    return {
      put: (...row) => table.put(...row),
      replace: (...row) => table.replace(...row),
      delete: (...row) => table.delete(...row),
      get: async (key) => {
        if (key !== 'held' || failures === 0) return table.get(key)
        failures -= 1
        throw new CioError('ERR_CIO_CLUSTER_DOWN', 'no answer')
      },
      watch: async (take, how) => {
        watches += 1
        how.signal.addEventListener('abort', () => (watches -= 1))
        await table.watch(take, how)
      },
    }
  }
  const one = await Instance.start(t, { cluster: { engine }, name: 'devices' })
  const other = await Instance.start(t, { cluster: { engine: memory(hub) }, name: 'devices' })
  const held = await one.connect('held')
  await other.connect('elsewhere')
  hub.cut(engine)
  failures = 3
  hub.heal()
  await until(() => engine.isUp && failures < 3)
  await until(async () => {
    t.truthy(await one.devices.find('elsewhere'))
    return failures === 0
  })
  await until(() => held.ctx.registration.isConfirmed)
  t.is(watches, 1)
})

test('without a broker, refuse rejects and wait waits', async (t) => {
  const refusing = await fleet(t, 1, { whenDown: 'refuse' })
  refusing.hub.cut(refusing.instances[0]!.engine)
  const refused = await refusing.instances[0]!.dial('sensor-7')
  t.is(await refused.ended, 'ERR_CIO_CLUSTER_DOWN')

  const waiting = await fleet(t, 1, { whenDown: 'wait' })
  const [one] = waiting.instances as [Instance]
  waiting.hub.cut(one.engine)
  const device = await one.dial('sensor-7')
  waiting.hub.heal()
  t.true((await device.entered).registration.isConfirmed)
})

test('after a partition, the later claim stays and the other connection ends', async (t) => {
  const { hub, instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  const first = await one.connect('sensor-7')
  hub.cut(one.engine)
  const second = await other.connect('sensor-7')
  t.true(second.ctx.registration.revision > first.ctx.registration.revision)
  hub.heal()
  t.is(await first.ended, 'ERR_CIO_TAKEN_OVER')
  await one.devices.send('sensor-7', 'to the second')
  t.is((await second.client.messages.next()).value, 'to the second')
})

test('the row of a connection that ended during an outage is given back after it', async (t) => {
  const { hub, instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  const device = await one.connect('sensor-7')
  hub.cut(one.engine)
  await device.client.close({ timeout: 0 })
  await device.closed
  t.is((await other.devices.find('sensor-7'))?.key, 'sensor-7')
  hub.heal()
  await until(async () => (await other.devices.find('sensor-7')) === undefined)
  t.pass()
})

test('a row is written again before it expires, and keeps its revision', async (t) => {
  const { instances } = await fleet(t, 2, { rowTtl: 1_000 })
  const [one, other] = instances as [Instance, Instance]
  const device = await one.connect('sensor-7')
  const { revision } = device.ctx.registration
  const began = performance.now()
  while (performance.now() - began < 2_500) {
    const entry = await other.devices.find('sensor-7')
    // On a machine that stalls, a row may expire before it is written again.
    if (entry) t.is(entry.revision, device.ctx.registration.revision)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await until(() => other.devices.find('sensor-7'))
  t.true(device.ctx.registration.revision >= revision)
  await other.devices.send('sensor-7', 'still here')
})

test('a device that does not read is closed by a send above maxBacklog, from any instance', async (t) => {
  const { instances } = await fleet(t, 2, { maxBacklog: 100_000 })
  const [one, other] = instances as [Instance, Instance]
  for (const { devices } of [one, other]) {
    const [near, far] = duplexPair()
    const { closed } = one.server.accept(near)
    far.on('error', () => {})
    far.write('"deaf"\n')
    await until(() => one.devices.find('deaf'))
    let sent = 0
    const flood = async (): Promise<void> => {
      for (; sent < 1_000; sent++) await devices.send('deaf', 'x'.repeat(1_000))
    }
    await t.throwsAsync(flood(), { code: 'ERR_CIO_SLOW_READER' })
    t.true(sent >= 99 && sent < 300, `${sent} messages`)
    await closed
    await until(async () => !(await one.devices.find('deaf')))
  }
  t.deepEqual(one.reported, [
    ['ERR_CIO_SLOW_READER', 'deaf'],
    ['ERR_CIO_SLOW_READER', 'deaf'],
  ])
})

test('evict closes a connection wherever it is', async (t) => {
  const { instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  for (const instance of [one, other]) {
    const device = await other.connect('sensor-7')
    t.true(await instance.devices.evict('sensor-7', { reason: 'stolen' }))
    t.is(await device.ended, 'ERR_CIO_EVICTED')
    await until(async () => (await one.devices.find('sensor-7')) === undefined)
  }
  t.false(await one.devices.evict('sensor-7'))
})

test('find and list show the connections of all instances that are alive', async (t) => {
  const { hub, instances } = await fleet(t, 2, {
    cluster: { leaseTimeout: 300 },
    about: ({ state }) => ({ model: `of ${String(state.name)}` }),
  })
  const [one, other] = instances as [Instance, Instance]
  await one.connect('a-1')
  const two = await other.connect('a-2')
  await other.connect('b-1')
  const entry = await one.devices.find('a-2')
  t.is(entry?.instance, other.engine.instance)
  t.is(entry?.revision, two.ctx.registration.revision)
  t.deepEqual(entry?.about, { model: 'of a-2' })
  t.true(Math.abs(Date.now() - entry!.since.getTime()) < 60_000)
  const keys = async (prefix?: string): Promise<string[]> => {
    const found: string[] = []
    for await (const { key } of one.devices.list(prefix ? { prefix } : {})) found.push(key)
    return found.toSorted()
  }
  t.deepEqual(await keys(), ['a-1', 'a-2', 'b-1'])
  t.deepEqual(await keys('a-'), ['a-1', 'a-2'])
  const tooMany = (async () => {
    for await (const _ of one.devices.list({ maxEntries: 2 })) t.fail()
  })()
  await t.throwsAsync(tooMany, { code: 'ERR_CIO_TOO_MANY_ENTRIES' })
  const down = heard(one.app, 'instanceDown')
  hub.cut(other.engine)
  await down
  t.deepEqual(await keys(), ['a-1'])
})

test('watch passes on connections that come and end, and fails when it misses some', async (t) => {
  const { hub, instances } = await fleet(t, 3)
  const [one, other, closing] = instances as [Instance, Instance, Instance]
  const changes: PresenceChange[] = []
  const { signal, abort } = controllerOf()
  const watching = (async () => {
    for await (const change of one.devices.watch({ signal })) changes.push(change)
  })()
  const device = await until1(
    async () => other.connect('sensor-7'),
    () => changes.length > 0,
  )
  t.is(changes[0]!.key, 'sensor-7')
  t.is(changes[0]!.entry?.instance, other.engine.instance)
  await device.client.close()
  await until(() => changes.at(-1)?.entry === null)
  abort(new Error('enough'))
  await watching

  const missed = (async () => {
    for await (const _ of one.devices.watch({ signal: new AbortController().signal })) t.pass()
  })()
  await new Promise((resolve) => setImmediate(resolve))
  hub.cut(one.engine)
  await t.throwsAsync(missed, { code: 'ERR_CIO_CLUSTER_DOWN' })

  hub.heal()
  await until(() => one.engine.isUp)
  const closed = (async () => {
    for await (const _ of closing.devices.watch({ signal: new AbortController().signal })) t.pass()
  })()
  await until(() => closing.here.instances.size === 3)
  await closing.server.close()
  await t.throwsAsync(closed, { code: 'ERR_CIO_CLUSTER_DOWN' })
  const slow = one.devices.watch({ signal: controllerOf().signal, maxBacklog: 2 })
  const reader = slow[Symbol.asyncIterator]()
  const first = reader.next()
  for (const name of ['a', 'b', 'c', 'd', 'e']) await other.connect(name)
  await first
  const rest = (async () => {
    while (!(await reader.next()).done) t.pass()
  })()
  await t.throwsAsync(rest, { code: 'ERR_CIO_SLOW_READER' })
})

test('names that break subjects are names like others', async (t) => {
  const { instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  const names = ['*', '>', 'a.b', '', '\0', '=', 'ü', 'u\u0308', ' ', 'n'.repeat(200), '__proto__']
  const devices = await Promise.all(names.map((name) => other.connect(name)))
  for (const [at, name] of names.entries()) {
    await one.devices.send(name, `for ${name}`)
    t.is((await devices[at]!.client.messages.next()).value, `for ${name}`)
    t.is((await one.devices.find(name))?.key, name)
  }
})

test('a connection without a key, or with a key that is too long, is rejected alone', async (t) => {
  const { instances } = await fleet(t, 1, {
    key: ({ state }) => (state.name === 'none' ? null : 'n'.repeat(Number(state.name))),
  })
  const [one] = instances as [Instance]
  t.is(await (await one.dial('none')).ended, 'ERR_CIO_REJECTED')
  t.is(await (await one.dial('1001')).ended, 'ERR_CIO_NAME_LENGTH')
  await one.connect('1000')
})

test('a server without certificates does not listen with a registry by certificates', async (t) => {
  const here = cluster()
  const app = new Cio().useServer(here).useConnection(json()).useConnection(registry(here))
  const listening = app.listen({ port: 0, host: '127.0.0.1' })
  await t.throwsAsync(listening, { code: 'ERR_CIO_NO_IDENTITY' })
})

test('values that cannot be sent are refused, wherever the device is', async (t) => {
  const { instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  await other.connect('sensor-7')
  for (const { devices } of [one, other]) {
    await t.throwsAsync(devices.send('sensor-7', new Map()), { code: 'ERR_CIO_ENCODE' })
    const long = 'x'.repeat(1024 * 1024)
    await t.throwsAsync(devices.send('sensor-7', long), { code: 'ERR_CIO_PAYLOAD_SIZE' })
  }
})

test('an instance that closes gives its names back', async (t) => {
  const { instances } = await fleet(t, 2)
  const [one, other] = instances as [Instance, Instance]
  const device = await other.connect('sensor-7')
  await other.server.close()
  await device.closed
  await t.throwsAsync(one.devices.send('sensor-7', 'x'), { code: 'ERR_CIO_OFFLINE' })
  const again = await one.connect('sensor-7')
  t.true(again.ctx.registration.revision > device.ctx.registration.revision)
})

test('registry() refuses options that are unknown or out of their range', (t) => {
  const here = cluster()
  const bad: object[] = [
    { duplicates: 'some' },
    { whenDown: 'listen' },
    { handoverTimeout: -1 },
    { handoverTimeout: Infinity },
    { takeovers: { count: 0, per: 1 } },
    { key: 'name' },
    { about: {} },
    { name: 'a.b' },
    { rowTtl: 10 },
    { handover: 1 },
  ]
  for (const options of bad) {
    const make = (): unknown => registry(here, options as RegistryOptions)
    t.throws(make, { code: 'ERR_CIO_OPTION' }, JSON.stringify(options))
  }
  registry(here)
  t.throws(() => registry(here), { code: 'ERR_CIO_OPTION', message: /devices/ })
})

test('methods and their parameters are typed', (t) => {
  const devices = registry<{ type: string }, Methods>(cluster())
  const app = new Cio().useConnection(json<{ type: string }>()).useConnection(rpc<Methods>())
  app.useConnection(devices)
  const uses = (one: Registry<{ type: string }, Methods>): unknown[] => [
    one.call('a', 'add', [1, 2]).then((sum) => sum.toFixed()),
    // @ts-expect-error: no such method
    one.call('a', 'explode'),
    // @ts-expect-error: other parameters
    one.call('a', 'add', ['1']),
    // @ts-expect-error: another message
    one.send('a', { text: 'x' }),
    // @ts-expect-error: without a codec there are no messages
    new Cio().useConnection(one),
  ]
  t.is(typeof uses, 'function')
})

/** An abort controller, as two values. */
function controllerOf(): { signal: AbortSignal; abort: (reason: Error) => void } {
  const controller = new AbortController()
  return { signal: controller.signal, abort: (reason) => controller.abort(reason) }
}

/** Does something again until a claim is true; the result of the last time. */
async function until1<Value>(work: () => Promise<Value>, claim: () => boolean): Promise<Value> {
  const value = await work()
  await until(claim)
  return value
}
