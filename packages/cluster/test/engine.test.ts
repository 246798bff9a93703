import test from 'ava'
import { memory, memoryHub } from '../src/index.ts'
import type { Engine, MemoryHub, Table } from '../src/index.ts'
import { engineConforms } from '../src/testing.ts'

test('memory() keeps the contract of an engine', async (t) => {
  const hub = memoryHub()
  const engines: Engine[] = []
  const make = (): Engine => {
    const engine = memory(hub)
    engines.push(engine)
    return engine
  }
  const outage = { begin: () => hub.cut(...engines), end: () => hub.heal() }
  const kept = await engineConforms(make, { outage })
  t.true(kept.includes('ends watches with the outage'))
})

test('engineConforms() names each promise that an engine breaks', async (t) => {
  const hub = memoryHub()
  const lossy = (): Engine => {
    const engine = memory(hub)
    engine.publish = () => {}
    const request = engine.request.bind(engine)
    engine.request = (subject, payload, options) =>
      request(subject, payload, options).catch((error: unknown) => {
        if ((error as { code?: string }).code !== 'ERR_CIO_NO_RESPONDER') throw error
        return new Uint8Array()
      })
    return engine
  }
  const error = await t.throwsAsync(engineConforms(lossy, { timeout: 500 }), {
    code: 'ERR_CIO_NONCONFORMING',
  })
  t.regex(error.message, /passes messages on in order/)
  t.regex(error.message, /says at once that nothing subscribes/)
  t.notRegex(error.message, /replaces a row once/)
})

test('engineConforms() holds an engine to the revisions that it gives', async (t) => {
  const make = (hub: MemoryHub, wrap: (table: Table) => Partial<Table>) => (): Engine => {
    const engine = memory(hub)
    const table = engine.table.bind(engine)
    engine.table = async (name, options) => {
      const real = await table(name, options)
      const same: Table = {
        get: (key) => real.get(key),
        put: (key, value) => real.put(key, value),
        replace: (...args) => real.replace(...args),
        delete: (...args) => real.delete(...args),
        watch: (...args) => real.watch(...args),
      }
      return { ...same, ...wrap(real) }
    }
    return engine
  }
  const broken: Record<string, (table: Table) => Partial<Table>> = {
    'gives a revision of a deletion, and does not take it': (table) => ({
      get: async (key) => (await table.get(key)) ?? { key, value: null, revision: 1_000 },
    }),
    'deletes any row at 0': (table) => ({
      delete: (key, revision) => table.delete(key, revision || undefined),
    }),
    'takes 0 for any row': (table) => ({
      replace: (key, value, revision) =>
        revision === 0 ? table.put(key, value) : table.replace(key, value, revision),
    }),
  }
  for (const [what, wrap] of Object.entries(broken)) {
    const conforms = engineConforms(make(memoryHub(), wrap), { timeout: 5_000 })
    const error = await t.throwsAsync(conforms, { code: 'ERR_CIO_NONCONFORMING' }, what)
    t.regex(error.message, /takes the revision that `get\(\)` gives/, what)
  }
})

test('a hub passes nothing to an engine that it has cut off', async (t) => {
  const hub = memoryHub()
  const [one, other] = [memory(hub), memory(hub)]
  const { signal } = new AbortController()
  await one.open(signal)
  await other.open(signal)
  const taken: string[] = []
  other.subscribe('s', ({ payload }) => taken.push(Buffer.from(payload).toString()))
  one.publish('s', Buffer.from('in flight'))
  hub.cut(other)
  await t.throwsAsync(one.request('s', Buffer.from('cut'), { timeout: 50 }), {
    code: 'ERR_CIO_NO_RESPONDER',
  })
  t.deepEqual(taken, [])
  hub.heal()
  other.subscribe('q', ({ reply }) => reply(Buffer.from('')))
  one.publish('s', Buffer.from('healed'))
  await one.request('q', Buffer.from(''), { timeout: 5_000 })
  t.deepEqual(taken, ['healed'])
  t.throws(() => hub.cut(memory()), { code: 'ERR_CIO_OPTION' })
})

test('an engine that is cut off opens when the hub heals, or when it is told to stop', async (t) => {
  const hub = memoryHub()
  const engine = memory(hub)
  hub.cut(engine)
  const controller = new AbortController()
  const stopped = engine.open(controller.signal)
  controller.abort(new Error('enough'))
  await t.throwsAsync(stopped, { message: 'enough' })
  const closed = engine.open(new AbortController().signal)
  await engine.close()
  await t.throwsAsync(closed, { code: 'ERR_CIO_CLUSTER_DOWN' })
  const opened = engine.open(new AbortController().signal)
  t.false(engine.isUp)
  hub.heal()
  await opened
  t.true(engine.isUp)
})
