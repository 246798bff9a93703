/**
 * `npm run --prefix packages/cluster bench`: what the package costs beside bare nats.js, over a real
 * broker. Both sides in turns, in one process; medians of ratios. Needs `nats-server`. Words select
 * parts: `npm run --prefix packages/cluster bench -- rooms claims`.
 *
 * It runs what esbuild has made, as users do: `tsx` wraps each function in a call that names it, which
 * takes memory for each connection.
 */

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import {
  Cio,
  type ConnectionContext,
  type RoomsContext,
  type RpcContext,
  type ServerContext,
  json,
  rpc,
} from 'cio'
import { duplexPair } from 'cio/testing'
import { cluster, mailbox, registry, rooms } from '../src/index.ts'
import { nats } from '../src/nats.ts'
import { ClaimTable } from '../src/registry/claim-table.ts'
import { Claims } from '../src/registry/claims.ts'
import { Holder } from '../src/registry/holder.ts'
import { Takeovers } from '../src/registry/takeovers.ts'
import { NatsServer } from '../test/support/nats-server.ts'

interface Device {
  echo(params: [text: string]): string
}

const rounds = 7
const messages = 20_000
const calls = 2_000
const claims = 4_000
const connections = 1_000
const endings: (() => unknown)[] = []
const server = await NatsServer.start({ teardown: (end) => endings.push(end) })
const servers = server.address
const message = { jsonrpc: '2.0', method: 'reading', params: { text: 'x'.repeat(40) } }

// As the engine sets it.
const noAsyncTraces = true
const one = await connect({ servers, noAsyncTraces })
const other = await connect({ servers, noAsyncTraces })
const near = await instance()
const far = await instance()
const device = await far.connect('bench')
const parts = { rooms: sends, calls: asks, claims: names, memory }
const chosen = process.argv.slice(2)
for (const [part, run] of Object.entries(parts)) {
  if (chosen.length === 0 || chosen.includes(part)) await run()
}
await near.server.close({ timeout: 0 })
await far.server.close({ timeout: 0 })
await Promise.all([one.close(), other.close()])
for (const end of endings.toReversed()) await end()
process.exit()

async function instance(adds: 'nothing' | 'registry' | 'rooms' | 'mailbox' = 'rooms') {
  const here = cluster({ engine: nats({ connect: { servers, pingInterval: 60_000 } }) })
  const devices = registry<unknown, Device>(here, { key: ({ state }) => String(state.name) })
  const all = rooms(here)
  const app = new Cio()
    .useServer(here)
    .useConnection(json())
    .useConnection(async function name(ctx, next) {
      ctx.state.name = (await ctx.messages.next()).value
      await next()
    })
    .useConnection(rpc<Device>())
  if (adds !== 'nothing') app.useConnection(devices)
  if (adds === 'rooms') app.useConnection(all)
  if (adds === 'mailbox') app.useConnection(mailbox(here, { deliver: async () => {} }) as never)
  app.useConnection(async (ctx: Partial<RoomsContext> & ConnectionContext, next) => {
    await ctx.rooms?.join(ctx.state.name === 'plain' ? 'all' : 'others')
    ctx.app.emit('entered' as 'error', ctx as never)
    await next()
  })
  const listening: ServerContext = await app.listen({ bind: false })
  const dial = async (name: string, isPlain = false) => {
    let ctx!: ConnectionContext
    const entered = once(app, 'entered')
    const plain = new Cio().useClient(json()).useClient(async function hello(one, next) {
      await one.messages.send(name)
      await next()
    })
    if (!isPlain) plain.useClient(rpc<object, Device>({ methods: { echo: ([text]) => text } }))
    const client = await plain.connect({
      createConnection: () => {
        const [here, there] = duplexPair()
        ctx = listening.accept(here)
        return there
      },
    })
    await entered
    return { client, ctx: ctx as ConnectionContext & RpcContext<Device> }
  }
  return { here, devices, all, server: listening, connect: dial }
}

/** A message to a room with one member on another instance, beside publish, JSON and a write. */
async function sends(): Promise<void> {
  const [here, there] = duplexPair()
  const { stream } = (await far.connect('plain', true)).client
  let left = 0
  let whole = (): void => {}
  for (const end of [there, stream]) {
    end.on('data', (chunk: Buffer) => {
      for (const byte of chunk) if (byte === 10) left -= 1
      if (left <= 0) whole()
    })
  }
  one.subscribe('raw', {
    callback: (_, { data }) => {
      here.write(`${JSON.stringify(JSON.parse(Buffer.from(data).toString()))}\n`)
    },
  })
  await one.flush()
  const received = (): Promise<void> => {
    left = messages
    return new Promise<void>((resolve) => (whole = resolve))
  }
  const raw = async (): Promise<void> => {
    const all = received()
    for (let at = 0; at < messages; at++) {
      other.publish('raw', JSON.stringify(message))
      if (at % 500 === 499) await other.flush()
    }
    await all
  }
  const own = async (): Promise<void> => {
    const all = received()
    for (let at = 0; at < messages; at++) {
      void near.all.send('all', message)
      if (at % 500 === 499) await flush(near.here.engine)
    }
    await all
  }
  await compare(
    'rooms.send to a member elsewhere / publish, JSON, write',
    'cpu',
    raw,
    own,
    messages,
  )
}

async function asks(): Promise<void> {
  one.subscribe('ask', { callback: (_, message) => void message.respond('x') })
  await one.flush()
  const raw = async (): Promise<void> => {
    for (let at = 0; at < calls; at++) {
      await other.request('ask', 'x', { timeout: 5_000 })
      await device.ctx.rpc.call('echo', ['x'])
    }
  }
  const own = async (): Promise<void> => {
    for (let at = 0; at < calls; at++) await near.devices.call('bench', 'echo', ['x'])
  }
  await compare('registry.call elsewhere / request and a local rpc', 'clock', raw, own, calls)
}

async function names(): Promise<void> {
  const kv = await new Kvm(other).create('raw', { history: 1 })
  const table = new ClaimTable(near.here.engine, 'bench', 60_000)
  await table.open(new AbortController().signal)
  const options = {
    name: 'bench',
    duplicates: 'newest',
    handoverTimeout: 1_000,
    whenDown: 'refuse',
  } as const
  const takeovers = new Takeovers({ count: Infinity, per: 1 }, () => {})
  const own = new Claims(near.here, table, options, takeovers)
  // It does not know of the connections of the other one: they count as ended.
  const later = new Claims(near.here, table, options, takeovers)
  let turn = 0
  const each = async (work: (at: number) => Promise<unknown>): Promise<void> => {
    let next = 0
    const worker = async (): Promise<void> => {
      while (next < claims) await work(next++)
    }
    await Promise.all(Array.from({ length: 100 }, worker))
  }
  const put = (): Promise<void> => each((at) => kv.put(`k${turn}-${at}`, 'x'.repeat(100)))
  const claim = (by: Claims, name: string, connection: string): Promise<boolean> => {
    const ctx = { isDraining: false } as never
    return by.claim(
      new Holder(ctx, { key: name, code: name, connection }, null, () => {}),
      () => {},
    )
  }
  await compare(
    'claim of a new name / put of a row, 100 at once',
    'cpu of both',
    put,
    () => {
      turn += 1
      return each((at) => claim(own, `n${turn}-${at}`, `c${turn}-${at}`))
    },
    claims,
  )
  turn = 0
  await compare(
    'claim of a name with a row / put of a row, 100 at once',
    'cpu of both',
    put,
    () => {
      turn += 1
      return each((at) => claim(later, `n${turn}-${at}`, `d${turn}-${at}`))
    },
    claims,
  )
}

/** The heap of a connection, of one that is registered, and of one that has a room or a mailbox too. */
async function memory(): Promise<void> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heap = async (work: (at: number) => Promise<unknown>): Promise<number> => {
    for (let at = 0; at < connections / 2; at++) await work(-1 - at)
    collect()
    const before = process.memoryUsage().heapUsed
    for (let at = 0; at < connections; at++) await work(at)
    collect()
    return (process.memoryUsage().heapUsed - before) / connections / 1_024
  }
  let bare = 0
  for (const adds of ['nothing', 'registry', 'rooms', 'mailbox'] as const) {
    const { connect, server } = await instance(adds)
    const kibibytes = await heap((at) => connect(`${adds}${at}`))
    bare ||= kibibytes
    const more = (kibibytes - bare).toFixed(1)
    console.log(
      `heap of a connection with ${adds}, both ends: ${kibibytes.toFixed(1)} KiB, ${more} more`,
    )
    await server.close({ timeout: 0 })
  }
}

async function flush(engine: typeof near.here.engine): Promise<void> {
  await engine.request('flush.flush', Buffer.of(0), { timeout: 5_000 }).catch(() => {})
}

async function compare(
  name: string,
  by: 'cpu' | 'cpu of both' | 'clock',
  raw: () => Promise<void>,
  own: () => Promise<void>,
  count: number,
): Promise<void> {
  const now = (): number => {
    if (by === 'clock') return performance.now() * 1_000
    const { user, system } = process.cpuUsage()
    return user + system + (by === 'cpu' ? 0 : brokerUsage())
  }
  const measure = async (work: () => Promise<void>): Promise<number> => {
    const before = now()
    await work()
    return (now() - before) / count
  }
  const ratios: number[] = []
  const times: [number, number][] = []
  for (let round = 0; round < rounds; round++) {
    const first = await measure(raw)
    const second = await measure(own)
    times.push([first, second])
    ratios.push(second / first)
  }
  const sorted = ratios.slice(1).toSorted((a, b) => a - b)
  const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!
  const [bare, whole] = [0, 1].map((side) => median(times.map((pair) => pair[side]!)))
  console.log(
    `${name}: ${median(sorted).toFixed(2)} (${sorted[0]!.toFixed(2)} to ${sorted.at(-1)!.toFixed(2)}), ${bare!.toFixed(1)} and ${whole!.toFixed(1)} µs of ${by}`,
  )
}

/** Microseconds of processor time that the broker has taken: Linux counts in hundredths of a second. */
function brokerUsage(): number {
  const fields = readFileSync(`/proc/${server.pid}/stat`, 'utf8').split(' ')
  return (Number(fields[13]) + Number(fields[14])) * 10_000
}
