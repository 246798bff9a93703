// npm run bench:build && node bench/build/bench/pool.js
//
// A call through a `Pool` beside the same call of one client: processor time of this process, which also
// serves. One after another, and with a hundred under way.

import { parseArgs } from 'node:util'
import { Cio, json, rpc } from 'cio'
import { Pool } from 'cio/pool'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    calls: { type: 'string', default: '5000' },
  },
})
const rounds = Number(values.rounds)
const calls = Number(values.calls)
const target = 1.1

interface Arithmetic {
  add(params: [a: number, b: number]): number
}

const server = await new Cio()
  .useConnection(json())
  .useConnection(rpc<{}, Arithmetic>({ methods: { add: ([a, b]) => a + b } }))
  .listen({ host: '127.0.0.1', port: 0 })
const app = new Cio().useClient(json()).useClient(rpc<Arithmetic>())
const place = { host: '127.0.0.1', port: server.port }
const client = await app.connect(place)
const pool = new Pool(app, { targets: [place], slowStartDuration: 0 })
await pool.ready()

type Add = () => Promise<number>

const sides: Record<'one client' | 'pool', Add> = {
  'one client': () => client.rpc.call('add', [1, 2]),
  pool: () => pool.call('add', [1, 2]),
}

/** Microseconds of processor time of a call. */
async function cost(add: Add, atOnce: number): Promise<number> {
  const before = process.cpuUsage()
  for (let done = 0; done < calls; done += atOnce) {
    if (atOnce === 1) await add()
    else await Promise.all(Array.from({ length: atOnce }, add))
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / calls
}

for (const atOnce of [1, 100]) {
  const costs: Record<string, number[]> = { 'one client': [], pool: [] }
  for (let round = -2; round < rounds; round++) {
    // In turns, each first in every second round.
    const order = round % 2 ? (['pool', 'one client'] as const) : (['one client', 'pool'] as const)
    for (const side of order) {
      const spent = await cost(sides[side], atOnce)
      if (round >= 0) costs[side]!.push(spent)
    }
  }
  const [one, pooled] = [median(costs['one client']!), median(costs.pool!)]
  const ratio = pooled / one
  console.log(
    `${atOnce} at once: one client ${one.toFixed(1)} µs, pool ${pooled.toFixed(1)} µs, ratio ${ratio.toFixed(3)} (target ${target}: ${ratio <= target ? 'met' : 'missed'})`,
  )
}

await pool.close()
await client.close()
await server.close()

function median(figures: number[]): number {
  return figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)]!
}
