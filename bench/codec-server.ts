/** One side of `codecs.ts`, in a process of its own: receives, sends or answers messages. */

import { DecoderStream, EncoderStream } from 'cbor-x'
import { PackrStream, UnpackrStream } from 'msgpackr'
import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import type { Duplex, Transform } from 'node:stream'
import split2 from 'split2'
import { cbor } from 'cio/cbor'
import { msgpack } from 'cio/msgpack'
import { Cio, type Messages, frames, json, lines } from 'cio'
import { type CodecSettings, message, startMark, sumOf } from './codecs.ts'

const settings = JSON.parse(process.argv[2] ?? '{}') as CodecSettings
const { codec, way, side, count } = settings
const host = '127.0.0.1'
const counted = (received: number): void => {
  if (received !== count) throw new Error(`${received} of ${count} came`)
}

process.on('disconnect', () => process.exit())
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send!(user + system)
})
process.send!(await (side === 'peer' ? listenPeer() : listenCio()))

async function listenCio(): Promise<number> {
  const codecs = {
    lines,
    json,
    msgpack,
    cbor,
    'cbor with records': () => cbor({ useRecords: true }),
    'frames by length': () => frames({ length: 4 }),
    'frames by delimiter': () => frames({ delimiter: '\n' }),
    'frames with checksum': () =>
      frames({
        start: Buffer.of(startMark >> 8, startMark & 0xff),
        length: 2,
        checksum: { of: sumOf, bytes: 2, over: 'body' },
      }),
  } as const
  // All of them are used alike; the types of their messages are of no interest here.
  const made = (codecs[codec] as unknown as typeof json)()
  const app = new Cio().useConnection(made).useConnection(async ({ messages }) => run(messages))
  const server = await app.listen({ host, port: 0 })
  return server.port
}

async function run(messages: Messages<unknown, unknown>): Promise<void> {
  let received = 0
  if (way === 'each') await messages.each(() => void received++)
  else if (way === 'iterate') for await (const _ of messages) received++
  else if (way === 'answer') {
    await messages.each((one) => {
      received++
      return messages.send(one)
    })
  } else {
    for (; received < count; received++) await messages.send(message(codec, received))
  }
  counted(received)
  await messages.end()
}

async function listenPeer(): Promise<number> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    void (way === 'send' ? sendByHand(socket) : receiveByHand(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const address = server.address()
  return typeof address === 'object' ? (address?.port ?? 0) : 0
}

function decoder(): Transform {
  if (codec === 'msgpack') return new UnpackrStream()
  if (codec.startsWith('cbor')) return new DecoderStream()
  return split2()
}

/** What is written for a message: by hand for text, by the package's own stream otherwise. */
function encoder(socket: Socket): { writable: Duplex; form: (one: unknown) => unknown } {
  if (codec === 'lines') return { writable: socket, form: (one) => `${one as string}\n` }
  if (codec === 'json') return { writable: socket, form: (one) => `${JSON.stringify(one)}\n` }
  const stream =
    codec === 'msgpack'
      ? new PackrStream()
      : new EncoderStream({ useRecords: codec === 'cbor with records' })
  stream.pipe(socket)
  return { writable: stream, form: (one) => one }
}

/** The least that finds frames: a loop over each chunk, with the rest of the last one before it. */
async function receiveFrames(socket: Socket, cut: typeof byLength): Promise<void> {
  let received = 0
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    rest = bytes.subarray(cut(bytes, () => void received++))
  })
  await once(socket, 'end')
  counted(received)
  socket.end()
}

/** Takes the whole frames of a chunk, and returns where the rest begins. */
function byLength(bytes: Buffer, take: (body: Buffer) => void): number {
  let at = 0
  while (at + 4 <= bytes.length) {
    const end = at + 4 + bytes.readUInt32BE(at)
    if (end > bytes.length) break
    take(bytes.subarray(at + 4, end))
    at = end
  }
  return at
}

function byFeed(bytes: Buffer, take: (body: Buffer) => void): number {
  let at = 0
  for (;;) {
    const end = bytes.indexOf(10, at)
    if (end < 0) return at
    take(bytes.subarray(at, end))
    at = end + 1
  }
}

function withSum(bytes: Buffer, take: (body: Buffer) => void): number {
  let at = 0
  while (at + 4 <= bytes.length) {
    if (bytes.readUInt16BE(at) !== startMark) throw new Error('no mark')
    const end = at + 4 + bytes.readUInt16BE(at + 2)
    if (end > bytes.length) break
    const body = bytes.subarray(at + 4, end - 2)
    if (sumOf(body) !== bytes.readUInt16BE(end - 2)) throw new Error('a wrong checksum')
    take(body)
    at = end
  }
  return at
}

async function receiveByHand(socket: Socket): Promise<void> {
  if (codec === 'frames by length') return receiveFrames(socket, byLength)
  if (codec === 'frames by delimiter') return receiveFrames(socket, byFeed)
  if (codec === 'frames with checksum') return receiveFrames(socket, withSum)
  const source = socket.pipe(decoder())
  const parse: (one: string) => unknown =
    codec === 'json' ? (one: string) => JSON.parse(one) as unknown : (one: string) => one
  let received = 0
  if (way === 'iterate') {
    for await (const one of source) {
      parse(one as string)
      received++
    }
  } else {
    const answer = way === 'answer' ? encoder(socket) : undefined
    source.on('data', (one: string) => {
      const parsed = parse(one)
      received++
      if (answer) answer.writable.write(answer.form(parsed))
    })
    await new Promise((resolve) => source.on('end', resolve))
  }
  counted(received)
  socket.end()
}

async function sendByHand(socket: Socket): Promise<void> {
  const { writable, form } = encoder(socket)
  for (let sent = 0; sent < count; sent++) {
    if (writable.write(form(message(codec, sent)))) continue
    await new Promise((resolve) => writable.once('drain', resolve))
  }
  writable.end()
}
