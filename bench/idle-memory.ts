/** How much heap does a connection hold that is open and silent? */

import type { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { ServerSettings } from './echo-server.ts'
import { median, middleHalf, record } from './results.ts'
import { selfSigned } from './self-signed.ts'
import { type Side, dial, positionals, start, values } from './side-by-side.ts'

const connections = 2_000
const warmUp = 200
const atOnce = 40
const rounds = Math.min(5, Number(values.rounds))
const waiting = 10

const pem = selfSigned()
for (const tls of [false, true]) {
  const title = tls ? 'TLS' : 'plain'
  if (positionals.every((word) => title.includes(word))) await compare(tls)
}

async function compare(tls: boolean): Promise<void> {
  const common = { pem: tls ? pem : undefined, echo: false }
  const sides: ServerSettings[] = [
    { ...common, side: 'bare', passThrough: 0 },
    { ...common, side: 'cio', passThrough: 0 },
    { ...common, side: 'cio', passThrough: waiting },
  ]
  const heaps: number[][] = sides.map(() => [])
  for (let round = 0; round < rounds; round++) {
    for (const [index, side] of sides.entries()) heaps[index]!.push(await heapOf(side, tls))
  }
  const [bare = 0, alone = 0, withWaiting = 0] = heaps.map(median)
  const own = alone - bare
  const each = (withWaiting - alone) / waiting
  console.log(
    `idle ${tls ? 'TLS' : 'plain'} connection (heap, ${rounds} rounds, ${connections} open)`,
  )
  const kibibytes = (bytes: number): number => bytes / 1024
  const what = `heap of an idle ${tls ? 'TLS' : 'plain'} connection above bare`
  const above = (of: number, from: number): readonly [low: number, high: number] =>
    middleHalf(heaps[of]!.map((heap, round) => kibibytes(heap - heaps[from]![round]!)))
  const [least, most] = above(1, 0)
  const ofEach = above(2, 1).map((kib) => kib / waiting)
  record({
    what,
    beside: `bare, ${kib(bare)}`,
    unit: 'KiB',
    figure: kibibytes(own),
    low: least,
    high: most,
    target: 1.3,
  })
  record({
    what: `heap of each waiting middleware, ${tls ? 'TLS' : 'plain'}`,
    beside: 'none',
    unit: 'KiB',
    figure: kibibytes(each),
    low: ofEach[0]!,
    high: ofEach[1]!,
    target: 0.48,
  })
  console.log(`  bare            ${kib(bare)}, ${spread(heaps[0]!)}`)
  console.log(`  cio             ${kib(alone)}, ${spread(heaps[1]!)}`)
  console.log(`  cio + ${waiting} waiting ${kib(withWaiting)}, ${spread(heaps[2]!)}`)
  console.log(`  cio itself      ${kib(own)}; target 1.30 KiB: ${verdict(own, 1.3)}`)
  console.log(`  each that waits ${kib(each)}; target 0.48 KiB: ${verdict(each, 0.48)}`)
}

async function heapOf(settings: ServerSettings, tls: boolean): Promise<number> {
  const server = await start(settings)
  // Code is compiled and tables are made by the first connections.
  const first = await dialMany(server.port, tls, warmUp)
  await untilOpen(server, first.length)
  const before = await server.heap()
  const more = await dialMany(server.port, tls, connections)
  await untilOpen(server, first.length + more.length)
  const after = await server.heap()
  for (const socket of [...first, ...more]) socket.destroy()
  server.stop()
  return (after.heap - before.heap) / connections
}

/** A client that is connected may still be in the backlog of a busy server. */
async function untilOpen(server: Side, count: number): Promise<void> {
  for (let looks = 0; looks < 100; looks++) {
    if ((await server.cpu()).open === count) return
    await delay(20)
  }
  throw new Error(`not ${count} are open`)
}

async function dialMany(port: number, tls: boolean, count: number): Promise<Socket[]> {
  const sockets: Socket[] = []
  while (sockets.length < count) {
    const batch = Array.from({ length: atOnce }, () => dial(port, tls))
    sockets.push(...(await Promise.all(batch)))
  }
  return sockets
}

function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(2)} KiB`
}

function spread(bytes: number[]): string {
  return `min ${kib(Math.min(...bytes))}, max ${kib(Math.max(...bytes))}`
}

function verdict(bytes: number, target: number): string {
  return bytes <= target * 1024 ? 'met' : 'missed'
}
