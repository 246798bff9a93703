// npm run bench:build && node bench/build/bench/multiplex.js
//
// Many streams in one connection: bytes a second over eight of them at once, and short streams a
// second, by `multiplex`, by other libraries, and by a connection for each stream.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Channel, libraries } from './multiplex-libraries.ts'
import { keepsFreedMemory } from './page-faults.ts'
import { median, middleOfPairs, record } from './results.ts'

const { values } = parseArgs({
  options: {
    launches: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '7' },
    only: { type: 'string', default: '' },
  },
})
const launches = Number(values.launches)
const rounds = Number(values.rounds)
const names = Object.keys(libraries).filter((name) =>
  values.only.split(',').some((part) => name.includes(part)),
)

const sizeLength = 4
const roundTimeout = 10_000
const mebibyte = 1024 * 1024
const chunk = Buffer.alloc(64 * 1024)
// Some of them fail by throwing where nobody can catch it.
process.on('uncaughtException', () => {})
// No bench outlives it, whatever hangs.
setTimeout(() => process.exit(1), 10 * 60_000).unref()

interface Work {
  readonly title: string
  readonly per: string
  /** Bytes of a stream, streams, and how many of them at once. */
  readonly size: number
  readonly count: number
  readonly atOnce: number
  readonly units: number
  /** Rounds that are not counted, until what runs has been compiled. */
  readonly warmUp: number
  /** Its name in the table, and what it should cost beside others. */
  readonly what: string
  readonly targets: Readonly<Record<string, number>>
}

const works: readonly Work[] = [
  {
    title: 'bytes, 8 streams at once',
    per: 'MiB',
    size: 4 * mebibyte,
    count: 8,
    atOnce: 8,
    units: 32,
    warmUp: 3,
    what: '`multiplex`, a MiB over 8 streams',
    targets: { 'node:http2': 1.05 },
  },
  {
    title: 'streams of 16 bytes, 50 at once',
    per: 'stream',
    size: 16,
    count: 500,
    atOnce: 50,
    units: 500,
    warmUp: 25,
    what: 'streams of `multiplex`, opened and closed',
    targets: { multiplex: 0.7, 'node:http2': 1.25 },
  },
]

interface Sample {
  /** Units a second. */
  readonly rate: number
  /** Microseconds of processor time a unit, of both sides together. */
  readonly cost: number
  /** Full collections of the server, a second. */
  readonly markCompacts: number
}

/** What the server has used since it began. */
interface Used {
  /** Microseconds of processor time. */
  readonly cpu: number
  readonly markCompacts: number
}

interface Side {
  readonly name: string
  readonly open: () => Channel | Promise<Channel>
  readonly mixesNumbers: boolean
  used(): Promise<Used>
  stop(this: void): void
}

for (const work of works) {
  const samples = new Map(names.map((name) => [name, [] as Sample[]]))
  const failed = new Set<string>()
  for (let launch = 0; launch < launches; launch++) {
    const sides: Side[] = []
    for (const name of names) if (!failed.has(name)) sides.push(await start(name))
    for (let round = 0; round < work.warmUp + rounds; round++) {
      for (const side of round % 2 ? sides : sides.toReversed()) {
        if (failed.has(side.name)) continue
        try {
          const sample = await measure(side, work)
          if (round >= work.warmUp) samples.get(side.name)!.push(sample)
        } catch (error) {
          if (process.env['DEBUG']) console.log(side.name, error)
          failed.add(side.name)
        }
      }
    }
    for (const { stop } of sides) stop()
  }
  report(work, samples, failed)
}
process.exit()

async function start(name: string): Promise<Side> {
  const file = fileURLToPath(
    new URL(`multiplex-server${extname(import.meta.url)}`, import.meta.url),
  )
  const child = fork(file, [name], { env: { ...process.env, ...keepsFreedMemory } })
  const [port] = (await once(child, 'message')) as [number]
  const { connect, mixesNumbers = false } = libraries[name]!
  const open = await connect(port)
  return {
    name,
    open,
    mixesNumbers,
    async used() {
      child.send('used')
      const [{ user, system, markCompacts }] = (await once(child, 'message')) as [
        NodeJS.CpuUsage & { readonly markCompacts: number },
      ]
      return { cpu: user + system, markCompacts }
    },
    stop: () => child.disconnect(),
  }
}

async function measure(side: Side, { size, count, atOnce, units }: Work): Promise<Sample> {
  const before = await side.used()
  const own = process.cpuUsage()
  const begun = performance.now()
  let left = count
  const answered: Channel[] = []
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const channel = await side.open()
      await send(channel, size)
      if (side.mixesNumbers) answered.push(channel)
      else channel.end()
    }
  }
  await inTime(Promise.all(Array.from({ length: atOnce }, one)))
  for (const channel of answered) channel.end()
  const seconds = (performance.now() - begun) / 1000
  const { user, system } = process.cpuUsage(own)
  const after = await side.used()
  const cpu = after.cpu - before.cpu + user + system
  const markCompacts = (after.markCompacts - before.markCompacts) / seconds
  return { rate: units / seconds, cost: cpu / units, markCompacts }
}

/** Sends a stream's bytes and waits for the answer. */
async function send(channel: Channel, size: number): Promise<void> {
  const answered = new Promise<void>((resolve) => channel.receive(() => resolve()))
  const head = Buffer.alloc(Math.min(size, chunk.length))
  head.writeUInt32BE(Math.max(size, sizeLength))
  await channel.send(head)
  for (let sent = head.length; sent < size; sent += chunk.length) await channel.send(chunk)
  await answered
}

function collectionsOf(samples: readonly Sample[]): number {
  return median(samples.map(({ markCompacts }) => markCompacts))
}

function inTime(work: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it hangs')), roundTimeout)
  })
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}

function report(
  { title, per, what, targets }: Work,
  samples: Map<string, Sample[]>,
  failed: Set<string>,
): void {
  console.log(`${title} (${launches} launches of ${rounds} rounds)`)
  const ours = samples.get('cio') ?? []
  for (const [name, target] of Object.entries(targets)) {
    const theirs = samples.get(name) ?? []
    if (ours.length === 0 || ours.length !== theirs.length) continue
    const [own, base] = [ours, theirs].map((all) => all.map(({ cost }) => cost))
    const [low, high] = middleOfPairs(own!, base!)
    const figure = median(own!) / median(base!)
    const beside = `${name.startsWith('node:') ? '' : 'npm '}\`${name}\``
    const markCompacts = [collectionsOf(theirs), collectionsOf(ours)] as const
    record({ what, beside, unit: 'times', figure, low, high, target, markCompacts })
  }
  for (const [name, measured] of samples) {
    if (failed.has(name)) {
      console.log(`  ${name.padEnd(22)} hangs or fails`)
      continue
    }
    const rates = measured.map(({ rate }) => rate)
    const [rate, cost] = [median(rates), median(measured.map(({ cost }) => cost))]
    const collections = collectionsOf(measured).toFixed(1)
    const range = `${Math.round(Math.min(...rates))} to ${Math.round(Math.max(...rates))}`
    const ratio = (median(ours.map(({ rate }) => rate)) / rate).toFixed(2)
    console.log(
      `  ${name.padEnd(22)} ${rate.toFixed(0).padStart(6)} ${per}/s (${range}), ${cost.toFixed(0)} µs CPU a ${per}, ${collections} Mark-Compacts a second; cio / it: ${ratio}`,
    )
  }
}
