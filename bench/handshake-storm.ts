// npx tsc -p bench/tsconfig.json && node build/bench/handshake-storm.js
//
// Five hundred mutual-TLS clients at once, as after a restart, while fifty connections live: how
// long these wait for an answer, and how many handshakes a second there are, with `limit` at its
// defaults beside bare `tls`. All clients are one process, which bounds the rate: it takes 0.8 to 0.9 of a
// core, and the server half of one. `OTHER=/path/dist/src/index.js` adds another build of Cio.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type TLSSocket, connect, createServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type * as cio from 'cio'
import { middleOfPairs, median, record } from './results.ts'
import { selfSigned } from './self-signed.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '8' },
    clients: { type: 'string', default: '500' },
  },
})

/** What a process is told that it is. */
interface Role {
  readonly role: 'clients' | 'server' | 'pings'
  readonly pem: string
  readonly side?: string
  readonly port?: number
}

const clients = Number(values.clients)
const living = 50
const pingInterval = 20
// V8 still compiles Cio's code during the first two thousand handshakes.
const warmUp = 4
const settle = 200
const host = '127.0.0.1'
// It ends, whatever hangs.
setTimeout(() => process.exit(1), 10 * 60_000).unref()
const given = positionals[0]
const {
  role,
  pem,
  side = '',
  port = 0,
}: Role = given ? (JSON.parse(given) as Role) : { role: 'clients', pem: selfSigned() }
const mutual = { key: pem, cert: pem, ca: pem }

if (role === 'server') await serve(side)
else if (role === 'pings') await ping(port)
else await storms()

/** A server of one side: it sends back what comes, and says its port. */
async function serve(side: string): Promise<void> {
  process.on('disconnect', () => process.exit())
  if (side === 'bare') {
    const server = createServer({ ...mutual, requestCert: true, noDelay: true }, (socket) => {
      socket.on('error', () => {})
      socket.pipe(socket)
    })
    server.listen(0, host)
    await once(server, 'listening')
    return void process.send!((server.address() as AddressInfo).port)
  }
  const { Cio, limit } = (await import(side)) as typeof cio
  const app = new Cio().useConnection(limit()).useConnection(async ({ stream }, next) => {
    stream.pipe(stream)
    await next()
  })
  const options = { port: 0, host, ...mutual, requestCert: true, handshakeTimeout: 60_000 }
  process.send!((await app.listen(options)).port)
}

/** Connections that live: each asks again and again, and all answers' times are told when asked. */
async function ping(port: number): Promise<void> {
  process.on('disconnect', () => process.exit())
  let times: number[] = []
  const all = await Promise.all(Array.from({ length: living }, () => dial(port)))
  for (const socket of all) {
    let sent = 0
    socket.on('data', () => {
      times.push(performance.now() - sent)
      setTimeout(ask, pingInterval)
    })
    const ask = (): void => {
      sent = performance.now()
      socket.write('.')
    }
    setTimeout(ask, Math.random() * pingInterval)
  }
  process.on('message', () => {
    process.send!(times)
    times = []
  })
  process.send!('ready')
}

async function dial(port: number): Promise<TLSSocket> {
  const socket = connect({ port, host, ...mutual, checkServerIdentity: () => undefined })
  socket.on('error', () => {})
  // A busy server refuses clients that have waited for too long; these do not wait for ever.
  await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve))
  return socket
}

interface Side {
  readonly name: string
  readonly port: number
  readonly pings: ChildProcess
  readonly rates: number[]
  readonly waits: number[]
  /** Clients that were refused, in all storms. */
  refused: number
}

async function storms(): Promise<void> {
  const { OTHER: other } = process.env
  const names = { bare: 'bare', cio: 'cio', ...(other && { other }) }
  const sides: Side[] = []
  for (const [name, side] of Object.entries(names)) {
    const [, port] = await start<number>({ role: 'server', pem, side })
    const [pings] = await start({ role: 'pings', pem, port })
    sides.push({ name, port, pings, rates: [], waits: [], refused: 0 })
  }
  const rounds = Number(values.rounds)
  for (let round = 0; round < warmUp + rounds; round++) {
    for (const side of round % 2 ? sides : sides.toReversed()) {
      const { rate, refused, wait } = await storm(side)
      side.refused += refused
      if (round < warmUp) continue
      side.rates.push(rate)
      side.waits.push(wait)
    }
  }
  const [bare, ours] = sides as [Side, Side]
  for (const [what, key, target] of [
    [
      `p99 of live connections while ${clients} mutual TLS clients dial, with \`limit\``,
      'waits',
      0.7,
    ],
    ['time of those handshakes', 'rates', 1 / 0.95],
  ] as const) {
    // A rate is the inverse of a time.
    const [own, base] = key === 'waits' ? [ours[key], bare[key]] : [bare[key], ours[key]]
    const figure = median(own) / median(base)
    const [low, high] = middleOfPairs(own, base)
    record({ what, beside: 'bare `tls`', unit: 'times', figure, low, high, target })
  }
  console.log(`${clients} clients at once, ${living} connections live (${rounds} storms of each)`)
  for (const { name, rates, waits, refused } of sides) {
    const of = (own: number[], others: number[]): string =>
      `${median(own).toFixed(1)} (${(median(own) / median(others)).toFixed(2)} of bare, ${Math.min(...own).toFixed(0)} to ${Math.max(...own).toFixed(0)})`
    console.log(
      `  ${name.padEnd(6)} p99 ${of(waits, bare.waits)} ms; ${of(rates, bare.rates)} handshakes a second; ${refused} refused`,
    )
  }
  process.exit()
}

async function start<Said>(as: Role): Promise<[ChildProcess, Said]> {
  const child = fork(fileURLToPath(import.meta.url), [JSON.stringify(as)])
  const [said] = (await once(child, 'message')) as [Said]
  return [child, said]
}

async function storm({
  port,
  pings,
}: Side): Promise<{ rate: number; refused: number; wait: number }> {
  await answers(pings)
  const begun = performance.now()
  const all = await Promise.all(Array.from({ length: clients }, () => dial(port)))
  const seconds = (performance.now() - begun) / 1_000
  const made = all.filter((socket) => !socket.destroyed).length
  const times = (await answers(pings)).toSorted((a, b) => a - b)
  for (const socket of all) socket.destroy()
  await delay(settle)
  return {
    rate: made / seconds,
    refused: clients - made,
    wait: times[Math.floor(times.length * 0.99)] ?? 0,
  }
}

async function answers(pings: ChildProcess): Promise<number[]> {
  pings.send('times')
  const [times] = (await once(pings, 'message')) as [number[]]
  return times
}
