/** What does a message to many connections cost, against `write` of the same bytes to each? */

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, type Socket, connect, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Cio, type JsonContext, type StreamContext, json, rooms } from 'cio'
import { median, middleOfPairs, record } from './results.ts'

const targets = { sendEncoded: 1.05, rooms: 1.1 }
const sendsPerRound = 3
const message = { id: 17, at: 1_700_000_000, name: 'temperature of room 7', value: 21.25 }

const { values } = parseArgs({
  allowPositionals: true,
  options: {
    members: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '51' },
    ports: { type: 'string', default: '' },
  },
})
const members = Number(values.members)

if (values.ports === '') await main()
else dialAll(values.ports.split(',').map(Number))

/** Connects so many clients to each port, which read and say nothing. */
function dialAll(ports: readonly number[]): void {
  let connected = 0
  for (const port of ports) {
    for (let count = 0; count < members; count++) {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.on('error', () => process.exit(1)).resume()
      socket.on('connect', () => {
        connected += 1
        if (connected === members * ports.length) process.send?.('ready')
      })
    }
  }
  process.on('disconnect', () => process.exit(0))
}

async function main(): Promise<void> {
  const sockets: Socket[] = []
  // As Cio sets it: small writes that wait for an acknowledgement cost less.
  const bare = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => {}).resume()
  })
  bare.listen({ host: '127.0.0.1', port: 0, backlog: 4_000 })
  await once(bare, 'listening')

  const contexts: (StreamContext & JsonContext)[] = []
  const chat = rooms()
  const app = new Cio()
    .useConnection(json())
    .useConnection(chat)
    .useConnection(async (ctx, next) => {
      await ctx.rooms.join('all')
      contexts.push(ctx)
      await next()
    })
  const server = await app.listen({ host: '127.0.0.1', port: 0, backlog: 4_000 })

  const ports = `${(bare.address() as AddressInfo).port},${server.port}`
  const self = fileURLToPath(import.meta.url)
  const child = fork(self, ['--members', `${members}`, '--ports', ports])
  await once(child, 'message')
  while (sockets.length < members || contexts.length < members) await delay(10)

  const bytes = Buffer.from(`${JSON.stringify(message)}\n`)
  const sides = {
    bare() {
      for (const socket of sockets) socket.write(bytes)
    },
    sendEncoded() {
      const encoded = contexts[0]!.messages.encode(message)
      for (const { messages } of contexts) void messages.sendEncoded(encoded)
    },
    rooms: () => chat.send('all', message),
    again: (): void => sides.bare(),
  }
  const costs: Record<keyof typeof sides, number[]> = {
    bare: [],
    sendEncoded: [],
    rooms: [],
    again: [],
  }
  const names = Object.keys(sides) as (keyof typeof sides)[]
  const rounds = Number(values.rounds)
  const warmUp = 10
  for (let round = 0; round < warmUp + rounds; round++) {
    for (const name of round % 2 ? names : names.toReversed()) {
      await delay(10)
      const before = process.cpuUsage()
      for (let sent = 0; sent < sendsPerRound; sent++) {
        await sides[name]()
        await new Promise((resolve) => setImmediate(resolve))
      }
      const { user, system } = process.cpuUsage(before)
      if (round >= warmUp) costs[name].push((user + system) / members / sendsPerRound)
    }
  }
  child.disconnect()
  bare.close()
  for (const socket of sockets) socket.destroy()
  await app.close({ timeout: 0 })

  console.log(`${bytes.length} bytes to ${members} connections, µs of CPU for each`)
  console.log(`  bare          ${median(costs.bare).toFixed(2)}`)
  for (const name of ['sendEncoded', 'rooms'] as const) {
    const ratio = median(costs[name]) / median(costs.bare)
    const pairs = costs[name].map((cost, index) => cost / costs.bare[index]!)
    const [low, high] = middleOfPairs(costs[name], costs.bare)
    record({
      what: `a message to ${members} connections, by \`${name}\``,
      beside: '`write` of the same bytes',
      unit: 'times',
      figure: ratio,
      low,
      high,
      target: targets[name],
      self: middleOfPairs(costs.again, costs.bare),
    })
    const verdict = ratio <= targets[name] ? 'met' : 'missed'
    console.log(
      `  ${name.padEnd(13)} ${median(costs[name]).toFixed(2)}, ratio ${ratio.toFixed(3)} of medians, ${median(pairs).toFixed(3)} of pairs; target ${targets[name].toFixed(2)}: ${verdict}`,
    )
  }
}
