// npx tsx examples/pool.ts
//
// A pool over three servers: calls continue while one of them is stopped, and the pool uses it
// again when it is back.

import assert from 'node:assert/strict'
import { Cio, json, rpc } from '../src/index.ts'
import { Pool } from '../src/pool.ts'

interface Greeter {
  greet(params: [name: string]): string
}

const host = '127.0.0.1'

async function start(name: string, port = 0) {
  const app = new Cio()
    .useConnection(json())
    .useConnection(
      rpc<{}, Greeter>({ methods: { greet: ([who]) => `hello ${who}, from ${name}` } }),
    )
  return app.listen({ host, port })
}

const [one, two, three] = [await start('one'), await start('two'), await start('three')]

const app = new Cio().useClient(json()).useClient(rpc<Greeter>())
const pool = new Pool(app, {
  targets: [one, two, three].map(({ port }) => ({ host, port })),
  slowStartDuration: 0,
})
await pool.ready({ min: 3 })

/** The servers that answer a hundred calls. */
async function answering(): Promise<string> {
  const answers = await Promise.all(
    Array.from({ length: 100 }, () =>
      pool.use((client) => client.rpc.call('greet', ['Ann']), { idempotent: true }),
    ),
  )
  return [...new Set(answers.map((answer) => answer.split(' ').at(-1)!))]
    .toSorted((a, b) => a.localeCompare(b))
    .join(', ')
}

console.log(`all run: ${await answering()}`)

const { port } = three
await three.close()
const left = await answering()
console.log(`one is stopped: ${left}`)
assert.equal(left, 'one, two')

const again = await start('three', port)
await pool.ready({ min: 3 })
console.log(`it is back: ${await answering()}`)

await pool.close()
for (const server of [one, two, again]) await server.close()
