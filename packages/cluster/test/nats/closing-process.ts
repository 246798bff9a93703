/** Closes engines while their watches begin, each a little later than the last, and has nothing more to do. */

import { setImmediate as turn } from 'node:timers/promises'
import type { Engine, Table } from '../../src/engine.ts'
import { nats } from '../../src/nats.ts'

const servers = process.argv[2]!
const watches = 100
const { signal } = new AbortController()

async function open(): Promise<readonly [Engine, Table]> {
  const engine = nats({ connect: { servers } })
  await engine.open(signal)
  return [engine, await engine.table('rows', { ttl: Infinity })]
}

const [first, table] = await open()
const before = performance.now()
await table.watch(() => {}, { signal })
const usual = performance.now() - before
await first.close()

let begun = 0
for (let part = 0; part < watches; part++) {
  const [engine, rows] = await open()
  const end = performance.now() + (2 * usual * part) / watches
  void rows
    .watch(() => {}, { signal })
    .then(
      () => (begun += 1),
      () => {},
    )
  while (performance.now() < end) await turn()
  await engine.close()
}
process.send!([begun, watches], () => process.disconnect())
