// npm run bench:build && node bench/build/bench/rpc.js
//
// What does a call cost, by `events` and `rpc`, beside the packages that they talk to: one after
// another, and with a hundred under way? The processor time of both ends, and round trips a second.
// With a hundred under way these say less: the calls of one turn are one write, so both ends wait
// for each other, while packages that write each call alone keep two processors busy.

import { createBirpc } from 'birpc'
import createDuplexEmitter from 'duplex-emitter'
import jayson from 'jayson'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import split2 from 'split2'
import { createMessageConnection } from 'vscode-jsonrpc/node'
import { WebSocket } from 'ws'
import { Cio, contentLength, events, json, requests, rpc } from 'cio'
import { median, middleOfPairs, quantile, record } from './results.ts'
import type { Library } from './rpc-server.ts'

const { values } = parseArgs({
  options: {
    launches: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '15' },
    calls: { type: 'string', default: '5000' },
  },
})
const launches = Number(values.launches)
const rounds = Number(values.rounds)
const calls = Number(values.calls)

const host = '127.0.0.1'
const warmUp = 5
// jayson's client makes a connection for each call: no more of them than there are ports.
const fewer = 20
// No bench outlives it, whatever hangs.
setTimeout(() => process.exit(1), 10 * 60_000).unref()

/** One who adds by asking a server. */
type Add = (a: number, b: number) => Promise<number>

interface Remote {
  add(params: [number, number]): number
}

const clients: Record<Library, (port: number) => Add | Promise<Add>> = {
  async 'net by hand'(port) {
    const socket = connect({ port, host, noDelay: true })
    await once(socket, 'connect')
    const { ask, answer } = asking()
    socket.pipe(split2(JSON.parse)).on('data', ([id, sum]: [number, number]) => answer(id, sum))
    return (a, b) => ask((id) => void socket.write(`${JSON.stringify([id, a, b])}\n`))
  },
  async 'cio events'(port) {
    const app = new Cio().useClient(json()).useClient(events())
    const { events: emitter } = await app.connect({ port, host })
    const { ask, answer } = asking()
    emitter.on('sum', (id, sum) => answer(id as number, sum as number))
    return (a, b) => ask((id) => void emitter.emit('add', id, a, b))
  },
  async 'duplex-emitter'(port) {
    const socket = connect({ port, host, noDelay: true })
    await once(socket, 'connect')
    const emitter = createDuplexEmitter(socket)
    const { ask, answer } = asking()
    emitter.on('sum', answer)
    return (a, b) => ask((id) => void emitter.emit('add', id, a, b))
  },
  async 'cio rpc'(port) {
    const app = new Cio().useClient(json()).useClient(rpc<Remote>())
    const client = await app.connect({ port, host })
    return (a, b) => client.rpc.call('add', [a, b])
  },
  async 'cio rpc, Content-Length'(port) {
    const app = new Cio().useClient(contentLength()).useClient(rpc<Remote>())
    const client = await app.connect({ port, host })
    return (a, b) => client.rpc.call('add', [a, b])
  },
  async 'cio requests'(port) {
    const app = new Cio().useClient(json<number[]>()).useClient(
      requests({
        match: { idOf: ([id]) => id, withId: ([, a, b]: readonly number[], id) => [id, a!, b!] },
      }),
    )
    const client = await app.connect({ port, host })
    return async (a, b) => (await client.requests.call([0, a, b]))[1]!
  },
  async birpc(port) {
    const socket = connect({ port, host, noDelay: true })
    await once(socket, 'connect')
    const lines = socket.pipe(split2())
    const remote = createBirpc<{ add(a: number, b: number): number }>(
      {},
      {
        post: (line: string) => socket.write(`${line}\n`),
        on: (hear) => lines.on('data', hear),
        serialize: JSON.stringify,
        deserialize: JSON.parse,
      },
    )
    return (a, b) => remote.add(a, b)
  },
  'ws by hand': webSocketClient,
  'cio websocket': webSocketClient,
  jayson(port) {
    const client = jayson.Client.tcp({ port, host })
    return (a, b) =>
      new Promise((resolve, reject) => {
        client.request('add', [a, b], (error: unknown, answer: { result: number }) =>
          error ? reject(new Error(JSON.stringify(error))) : resolve(answer.result),
        )
      })
  },
  async 'vscode-jsonrpc'(port) {
    const socket = connect({ port, host, noDelay: true })
    await once(socket, 'connect')
    const connection = createMessageConnection(socket, socket)
    connection.listen()
    return (a, b) => connection.sendRequest<number>('add', a, b)
  },
}

/** Each of Cio's, and the packages that it is measured against. */
const questions: readonly (readonly [ours: Library, theirs: Library])[] = [
  ['cio events', 'duplex-emitter'],
  ['cio rpc', 'birpc'],
  ['cio websocket', 'ws by hand'],
  ['cio rpc', 'jayson'],
  ['cio rpc', 'vscode-jsonrpc'],
  ['cio rpc, Content-Length', 'vscode-jsonrpc'],
  ['cio rpc', 'duplex-emitter'],
  ['cio events', 'net by hand'],
  ['cio rpc', 'net by hand'],
  ['cio requests', 'net by hand'],
]

interface Sample {
  /** Round trips a second. */
  readonly rate: number
  /** Microseconds of processor time a call, of both ends together. */
  readonly cost: number
}

interface Side {
  readonly library: Library
  readonly add: Add
  readonly cpu: () => Promise<number>
  stop(this: void): void
}

/** The processor time of a call that is aimed at, by how many are under way. */
const goals: Record<string, Record<number, number>> = {
  'cio events / duplex-emitter': { 1: 0.9 },
  'cio rpc / birpc': { 1: 1, 100: 0.26 },
  'cio rpc / jayson': { 1: 1.05 },
  'cio websocket / ws by hand': { 1: 1.1 },
}

const libraries = Object.keys(clients) as Library[]

for (const underWay of [1, 100]) {
  const samples = new Map(libraries.map((library) => [library, [] as Sample[]]))
  for (let launch = 0; launch < launches; launch++) {
    const sides = await Promise.all(libraries.map(start))
    for (let round = 0; round < warmUp + rounds; round++) {
      for (const side of round % 2 ? sides : sides.toReversed()) {
        const { library } = side
        const sample = await measure(side, library === 'jayson' ? calls / fewer : calls, underWay)
        if (round >= warmUp) samples.get(library)!.push(sample)
      }
    }
    for (const { stop } of sides) stop()
  }
  report(underWay, samples)
}
process.exit()

/** What duplex-emitter and `events` leave to their users: to know which answer is to what. */
function asking() {
  const waiting = new Map<number, (sum: number) => void>()
  let last = 0
  return {
    ask: (send: (id: number) => void): Promise<number> => {
      return new Promise((resolve) => {
        waiting.set(++last, resolve)
        send(last)
      })
    },
    answer: (id: number, sum: number): void => {
      waiting.get(id)?.(sum)
      waiting.delete(id)
    },
  }
}

/** The same client for both servers. */
async function webSocketClient(port: number): Promise<Add> {
  const socket = new WebSocket(`ws://${host}:${port}`)
  await once(socket, 'open')
  const { ask, answer } = asking()
  socket.on('message', (bytes: Buffer) => {
    const [id, sum] = JSON.parse(bytes.toString()) as [number, number]
    answer(id, sum)
  })
  return (a, b) => ask((id) => socket.send(JSON.stringify([id, a, b])))
}

async function start(library: Library): Promise<Side> {
  const file = fileURLToPath(new URL(`rpc-server${extname(import.meta.url)}`, import.meta.url))
  const child = fork(file, [library])
  const [port] = (await once(child, 'message')) as [number]
  const cpu = async (): Promise<number> => {
    child.send('cpu')
    const [spent] = (await once(child, 'message')) as [number]
    return spent
  }
  return { library, add: await clients[library](port), cpu, stop: () => child.disconnect() }
}

async function measure({ add, cpu }: Side, count: number, underWay: number): Promise<Sample> {
  let left = count
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const a = left
      if ((await add(a, 1)) !== a + 1) throw new Error('a wrong sum')
    }
  }
  const before = await cpu()
  const own = process.cpuUsage()
  const begun = performance.now()
  await Promise.all(Array.from({ length: underWay }, one))
  const rate = (count / (performance.now() - begun)) * 1000
  const { user, system } = process.cpuUsage(own)
  return { rate, cost: ((await cpu()) - before + user + system) / count }
}

function report(underWay: number, samples: ReadonlyMap<Library, readonly Sample[]>): void {
  const costsOf = (library: Library): number[] => samples.get(library)!.map(({ cost }) => cost)
  console.log(`${underWay} under way (${launches} launches of ${rounds} rounds)`)
  for (const [library, measured] of samples) {
    const rates = measured.map(({ rate }) => rate)
    const [low, middle, high] = [0, 0.5, 1].map((at) => Math.round(quantile(rates, at)))
    const cost = median(costsOf(library)).toFixed(1)
    console.log(
      `  ${library.padEnd(24)} ${cost} µs CPU a call, ${middle} round trips/s (${low} to ${high})`,
    )
  }
  for (const [ours, theirs] of questions) {
    const [mine, others] = [costsOf(ours), costsOf(theirs)]
    const figure = median(mine) / median(others)
    const [low, high] = middleOfPairs(mine, others)
    const target = goals[`${ours} / ${theirs}`]?.[underWay]
    if (target !== undefined) {
      const what = `calls by \`${ours.slice('cio '.length)}\`, ${underWay} under way`
      record({ what, beside: theirs, unit: 'times', figure, low, high, target })
    }
    const between = `${low.toFixed(2)} to ${high.toFixed(2)}`
    const verdict =
      target === undefined ? '' : `; target ${target}: ${low <= target ? 'met' : 'missed'}`
    console.log(`  ${ours} / ${theirs}: ${figure.toFixed(2)} (${between})${verdict}`)
  }
}
