// npx tsc -p bench/tsconfig.json && node build/bench/forward.js
//
// What does a forwarded connection cost, and a MiB that is forwarded both ways? Beside `net` with two
// of Node's `pipeline()`, and with two calls of `.pipe()`.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { type Socket, connect } from 'node:net'
import { extname } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Extras, ForwardFigures, Way } from './forward-server.ts'
import { keepsFreedMemory } from './page-faults.ts'
import { median, middleOfPairs, quantile, record } from './results.ts'
import { selfSigned } from './self-signed.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    launches: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '15' },
  },
})
const launches = Number(values.launches)
const rounds = Number(values.rounds)

const host = '127.0.0.1'
const base = 'net + pipeline'
const again = `${base}, again`
const ways: ReadonlyArray<readonly [name: string, way: Way]> = [
  [base, base],
  ['.pipe() twice', '.pipe() twice'],
  ['cio', 'cio'],
  [again, base],
]
const line = Buffer.from('sixteen bytes...')
const chunk = Buffer.alloc(64 * 1024, 'x')
// What a server does after the peer has gone is part of the cost.
const afterglow = 20
// No bench outlives it, whatever hangs.
setTimeout(() => process.exit(1), 10 * 60_000).unref()

interface Load {
  readonly title: string
  readonly per: string
  /** The ratio to `net + pipeline` that Cio should not exceed. */
  readonly target: number
  readonly warmUp: number
  /** What each proxy does besides. */
  readonly extras?: Extras
  /** The environment of the servers, beside that of this process. */
  readonly env?: Readonly<Record<string, string>>
  /** Does a bounded amount of work; fulfils with how many units it was. */
  run(port: number): Promise<number>
}

interface Running {
  readonly port: number
  figures(): Promise<ForwardFigures>
  stop(): void
}

interface Sample {
  readonly cost: number
  /** Full collections a second. */
  readonly markCompacts: number
  /** Page faults for each unit. */
  readonly pageFaults: number
}

const loads: readonly Load[] = [
  {
    title: 'short connections',
    per: 'connection',
    target: 1,
    warmUp: 6,
    run: (port) => visits(port, 400),
  },
  {
    title: 'short connections with a PROXY header',
    per: 'connection',
    target: 1,
    warmUp: 6,
    extras: { header: true },
    run: (port) => visits(port, 400),
  },
  {
    title: 'short connections, TLS ends at the proxy',
    per: 'connection',
    target: 1,
    warmUp: 6,
    extras: { pem: selfSigned() },
    run: (port) => visits(port, 120, true),
  },
  {
    title: 'throughput',
    per: 'MiB',
    target: 1.05,
    warmUp: 2,
    env: keepsFreedMemory,
    run: (port) => echoes(port, 16, 8),
  },
  {
    title: "throughput, with glibc's defaults",
    per: 'MiB',
    target: 1.05,
    warmUp: 2,
    run: (port) => echoes(port, 16, 8),
  },
]

for (const load of loads) {
  if (!positionals.every((word) => load.title.includes(word))) continue
  const samples: Record<string, Sample[]> = {}
  for (let launch = 0; launch < launches; launch++) await compare(load, samples)
  report(load, samples)
}

/** All ways at work at the same time, in turns, each first as often as the others. */
async function compare(load: Load, samples: Record<string, Sample[]>): Promise<void> {
  const echo = await start('echo', load)
  const servers: [string, Running][] = []
  for (const [name, way] of ways) servers.push([name, await start(way, load, echo.port)])
  for (let round = 0; round < load.warmUp + rounds; round++) {
    servers.push(servers.shift()!)
    for (const [way, server] of servers) {
      const sample = await measure(load, server)
      if (round >= load.warmUp) (samples[way] ??= []).push(sample)
    }
  }
  for (const [, server] of servers) server.stop()
  echo.stop()
}

async function start(way: Way, { env, extras }: Load, target = 0): Promise<Running> {
  const file = `forward-server${extname(import.meta.url)}`
  const path = fileURLToPath(new URL(file, import.meta.url))
  const args = [way, String(target), JSON.stringify(way === 'echo' ? {} : (extras ?? {}))]
  const child = fork(path, args, { env: { ...process.env, ...env } })
  const [port] = (await once(child, 'message')) as [number]
  const figures = async (): Promise<ForwardFigures> => {
    child.send('figures')
    const [answer] = (await once(child, 'message')) as [ForwardFigures]
    return answer
  }
  return { port, figures, stop: () => child.disconnect() }
}

async function measure(load: Load, server: Running): Promise<Sample> {
  const before = await server.figures()
  const began = performance.now()
  const units = await load.run(server.port)
  const seconds = (performance.now() - began) / 1_000
  await delay(afterglow)
  const after = await server.figures()
  if (after.open > 0) throw new Error(`${after.open} connections are still open`)
  return {
    cost: (after.cpu - before.cpu) / units,
    markCompacts: (after.markCompacts - before.markCompacts) / seconds,
    pageFaults: (after.pageFaults - before.pageFaults) / units,
  }
}

async function visits(port: number, count: number, tls = false): Promise<number> {
  let left = count
  const visitor = async (): Promise<void> => {
    while (left-- > 0) {
      const socket = await dial(port, tls)
      socket.write(line)
      await once(socket, 'data')
      socket.end()
      await once(socket, 'close')
    }
  }
  await Promise.all(Array.from({ length: 16 }, visitor))
  return count
}

async function echoes(port: number, connections: number, mebibytes: number): Promise<number> {
  await Promise.all(Array.from({ length: connections }, () => echo(port, mebibytes)))
  return connections * mebibytes
}

async function echo(port: number, mebibytes: number): Promise<void> {
  const socket = await dial(port)
  const total = mebibytes * 2 ** 20
  let heard = 0
  socket.on('data', (part: Buffer) => {
    heard += part.length
    if (heard % chunk.length > 0) return
    if (heard < total) socket.write(chunk)
    else socket.end()
  })
  socket.write(chunk)
  await once(socket, 'close')
  if (heard !== total) throw new Error(`${total} bytes went out, ${heard} came back`)
}

async function dial(port: number, tls = false): Promise<Socket> {
  const options = { port, host, noDelay: true, allowHalfOpen: true }
  const socket = tls ? connectTls({ ...options, rejectUnauthorized: false }) : connect(options)
  await once(socket, tls ? 'secureConnect' : 'connect')
  return socket
}

function report({ title, per, target }: Load, samples: Record<string, Sample[]>): void {
  console.log(`${title} (CPU of the forwarding server, ${launches} launches of ${rounds} rounds)`)
  const costsOf = (name: string): number[] => samples[name]!.map(({ cost }) => cost)
  const collectionsOf = (name: string): number =>
    median(samples[name]!.map(({ markCompacts }) => markCompacts))
  const faultsOf = (name: string): string => {
    return median(samples[name]!.map(({ pageFaults }) => pageFaults)).toFixed(0)
  }
  const [low, high] = middleOfPairs(costsOf('cio'), costsOf(base))
  record({
    what: `proxy, ${title}`,
    beside: '`net` and `pipeline()`',
    unit: 'times',
    figure: median(costsOf('cio')) / median(costsOf(base)),
    low,
    high,
    target,
    self: middleOfPairs(costsOf(again), costsOf(base)),
    markCompacts: [collectionsOf(base), collectionsOf('cio')],
    note: `page faults for each ${per}: ${faultsOf(base)}; with Cio ${faultsOf('cio')}`,
  })
  for (const [way] of ways) {
    const costs = costsOf(way)
    const pairs = costs.map((cost, index) => cost / costsOf(base)[index]!)
    const [low, high] = [0.25, 0.75].map((at) => quantile(pairs, at).toFixed(2))
    const ratio = median(costs) / median(costsOf(base))
    const collections = collectionsOf(way)
    const verdict = way === 'cio' ? `; target ${target.toFixed(2)}` : ''
    console.log(
      `  ${way.padEnd(24)}${median(costs).toFixed(1).padStart(8)} µs per ${per}, ` +
        `ratio ${ratio.toFixed(3)} [${low}–${high}], ` +
        `${collections.toFixed(1)} Mark-Compacts a second, ${faultsOf(way)} page faults a ${per}${verdict}`,
    )
  }
}
