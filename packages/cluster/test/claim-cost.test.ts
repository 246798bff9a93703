/** How often a claim asks the broker, before the connection goes on. */

import test from 'ava'
import { type Engine, type MemoryHub, memory, memoryHub } from '../src/index.ts'
import { Instance } from './support/fleet.ts'

/** An engine that notes what is asked of the table of names. */
function noting(hub: MemoryHub): { engine: Engine; asked: string[] } {
  const engine = memory(hub)
  const asked: string[] = []
  const table = engine.table.bind(engine)
  engine.table = async (name, options) => {
    const real = await table(name, options)
    if (name !== 'devices') return real
    return {
      get: (key) => (asked.push('get'), real.get(key)),
      put: (key, value) => (asked.push('put'), real.put(key, value)),
      replace: (...args) => (asked.push('replace'), real.replace(...args)),
      delete: (...args) => real.delete(...args),
      watch: (...args) => real.watch(...args),
    }
  }
  return { engine, asked }
}

test('a new name is claimed by one write, and one with a row by a read and a write', async (t) => {
  const hub = memoryHub()
  const one = noting(hub)
  const other = noting(hub)
  const here = await Instance.start(t, { cluster: { engine: one.engine } })
  const there = await Instance.start(t, { cluster: { engine: other.engine } })
  for (const name of ['a', 'b', 'c']) await here.connect(name)
  t.deepEqual(one.asked, ['replace', 'replace', 'replace'])

  hub.cut(one.engine)
  await there.connect('a')
  t.deepEqual(other.asked.splice(0), ['replace', 'get', 'replace'])
  await there.connect('b')
  await there.connect('c')
  t.deepEqual(other.asked.splice(0), ['get', 'replace', 'get', 'replace'])
  await there.connect('d')
  await there.connect('e')
  t.deepEqual(other.asked, ['get', 'replace', 'replace'])
})
