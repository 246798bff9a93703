/**
 * What does a message cost, against split2 and JSON by hand, msgpackr's and cbor-x's own streams, and
 * frames against a loop by hand and node-serialport's parsers?
 */

import { Encoder } from 'cbor-x'
import { Packr } from 'msgpackr'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type FrameKind, frameOf, frameOptions } from './frame-kinds.ts'
import { keepsFreedMemory } from './page-faults.ts'
import { median, middleOfPairs, record } from './results.ts'

/** What one server does, given as its argument. */
export interface CodecSettings {
  readonly codec: 'lines' | 'json' | 'msgpack' | 'cbor' | 'cbor with records' | FrameKind
  /** Receives all, by events or by iteration; receives and answers; or sends all. */
  readonly way: 'each' | 'iterate' | 'answer' | 'send'
  /** Its name if it is not Cio. */
  readonly peer?: string
  readonly count: number
}

/** The peer that is a loop by hand. */
export const byHand = 'a loop by hand'

const piece = 64 * 1024
/** What each codec is compared with, and the ratio that it should not exceed. */
const peers: Record<CodecSettings['codec'], Readonly<Record<string, number>>> = {
  lines: { split2: 1 },
  json: { 'split2 + JSON': 1 },
  msgpack: { msgpackr: 1 },
  cbor: { 'cbor-x': 0.75 },
  'cbor with records': { 'cbor-x': 1.3 },
  'frames by length': { [byHand]: 1.3 },
  'frames by delimiter': { [byHand]: 1.3, '@serialport/parser-delimiter': 1 },
  'frames by size': { '@serialport/parser-byte-length': 1 },
  'frames with a mark and a length': { '@serialport/parser-packet-length': 1 },
  'frames with checksum': { [byHand]: 1.3 },
  'frames by slip': { [byHand]: 1.3, '@serialport/parser-slip-encoder': 1 },
  'frames by hdlc': { [byHand]: 1.3 },
  'frames by cobs': { [byHand]: 1.3 },
}
const texts = Array.from({ length: 16 }, (_, index) => `temperature of room ${index}, in kelvin`)

/** The same messages for all: about a hundred bytes, as telemetry is. */
export function message(codec: CodecSettings['codec'], index: number): unknown {
  const value = { id: index, at: 1_700_000_000 + index, name: texts[index % 16], value: index / 8 }
  return codec === 'lines' || isFrames(codec) ? JSON.stringify(value) : value
}

/** Whether it is `frames`. */
export function isFrames(codec: CodecSettings['codec']): codec is FrameKind {
  return Object.hasOwn(frameOptions, codec)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      launches: { type: 'string', default: '3' },
      rounds: { type: 'string', default: '11' },
      count: { type: 'string', default: '50000' },
    },
  })
  // No bench outlives it, whatever hangs.
  setTimeout(() => process.exit(1), 10 * 60_000).unref()
  for (const codec of Object.keys(peers) as CodecSettings['codec'][]) {
    for (const way of ['each', 'iterate', 'send', 'answer'] as const) {
      if (isFrames(codec) && way !== 'each') continue
      const title = `${codec} ${way}`
      if (!positionals.every((word) => title.includes(word))) continue
      for (const [peer, target] of Object.entries(peers[codec])) {
        // One at a time and waited for, it is a round trip each. By hand, a frame takes a fifth of the time
        // of JSON.
        const share = way === 'answer' ? 0.1 : peer === byHand ? 4 : 1
        const count = Number(values.count) * share
        const settings = { codec, way, count, peer }
        await compare(settings, target, Number(values.launches), Number(values.rounds))
      }
    }
  }
}

async function compare(
  settings: Required<CodecSettings>,
  target: number,
  launches: number,
  rounds: number,
): Promise<void> {
  const { codec, way, count, peer: name } = settings
  const bytes = encodeAll(settings)
  const costs = { peer: [] as number[], cio: [] as number[] }
  for (let launch = 0; launch < launches; launch++) {
    const sides = [
      ['peer', await start(settings)],
      ['cio', await start({ codec, way, count })],
    ] as const
    // The first rounds warm up and are not counted.
    for (let round = -1; round <= rounds; round++) {
      for (const [side, server] of round % 2 ? sides : sides.toReversed()) {
        const before = await server.cpu()
        await load(server.port, way, bytes)
        const after = await server.cpu()
        if (round > 0) costs[side].push((1_000 * (after - before)) / count)
      }
    }
    for (const [, server] of sides) server.stop()
  }
  const [peer, cio] = [median(costs.peer), median(costs.cio)]
  const pairs = median(costs.cio.map((cost, index) => cost / costs.peer[index]!))
  const figures = `${name} ${peer.toFixed(0)} ns, cio ${cio.toFixed(0)} ns a message`
  const ratio = cio / peer
  if (way !== 'answer') {
    const [low, high] = middleOfPairs(costs.cio, costs.peer)
    const what = `\`${codec}\`, a message, by \`${way}\``
    record({ what, beside: name, unit: 'times', figure: ratio, low, high, target })
  }
  const verdict = ratio <= target ? 'met' : 'missed'
  console.log(
    `${`${codec} ${way}`.padEnd(24)} ${figures.padEnd(50)} ratio ${ratio.toFixed(2)} (pairs ${pairs.toFixed(2)}), target ${target.toFixed(2)}: ${verdict}`,
  )
}

interface Server {
  readonly port: number
  cpu(): Promise<number>
  stop(): void
}

async function start(settings: CodecSettings): Promise<Server> {
  const file = `codec-server${extname(import.meta.url)}`
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), [JSON.stringify(settings)], {
    env: { ...process.env, ...keepsFreedMemory },
  })
  const [port] = (await once(child, 'message')) as [number]
  const cpu = async (): Promise<number> => {
    child.send('cpu')
    const [spent] = (await once(child, 'message')) as [number]
    return spent
  }
  return { port, cpu, stop: () => child.disconnect() }
}

/** All messages, in pieces: large ones, or one a message where each is answered. */
function encodeAll({ codec, way, count }: CodecSettings): Buffer[] {
  if (way === 'send') return []
  const packr = new Packr({ sequential: true })
  const encoder = new Encoder({ sequential: true, useRecords: codec === 'cbor with records' })
  const encoded = Array.from({ length: count }, (_, index) => {
    const one = message(codec, index)
    if (codec === 'msgpack') return Buffer.from(packr.pack(one))
    if (codec.startsWith('cbor')) return Buffer.from(encoder.encode(one))
    const text = codec === 'json' ? JSON.stringify(one) : (one as string)
    if (isFrames(codec)) return frameOf(codec, text)
    return Buffer.from(`${text}\n`)
  })
  if (way === 'answer') return encoded
  const all = Buffer.concat(encoded)
  const pieces: Buffer[] = []
  for (let at = 0; at < all.length; at += piece) pieces.push(all.subarray(at, at + piece))
  return pieces
}

async function load(port: number, way: CodecSettings['way'], pieces: Buffer[]): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  await once(socket, 'connect')
  const closed = once(socket, 'close')
  if (way === 'answer') {
    let next = 0
    const ask = (): unknown => (next < pieces.length ? socket.write(pieces[next++]!) : socket.end())
    socket.on('data', ask)
    ask()
  } else {
    socket.resume()
    for (const one of pieces) if (!socket.write(one)) await once(socket, 'drain')
    if (way !== 'send') socket.end()
    else socket.on('end', () => socket.end())
  }
  await closed
}
