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
import { type CodecSettings, byHand, isFrames, message } from './codecs.ts'
import { type FrameKind, frameOptions } from './frame-kinds.ts'
import { loops, parsers } from './hand-frames.ts'

const settings = JSON.parse(process.argv[2] ?? '{}') as CodecSettings
const { codec, way, peer, count } = settings
const host = '127.0.0.1'
const counted = (received: number): void => {
  if (received !== count) throw new Error(`${received} of ${count} came`)
}

process.on('disconnect', () => process.exit())
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send!(user + system)
})
process.send!(await (peer === undefined ? listenCio() : listenPeer()))

async function listenCio(): Promise<number> {
  const codecs = {
    lines,
    json,
    msgpack,
    cbor,
    'cbor with records': () => cbor({ useRecords: true }),
  } as const
  // All of them are used alike; the types of their messages are of no interest here.
  const make = isFrames(codec) ? () => frames(frameOptions[codec]) : codecs[codec]
  const made = (make as typeof json)()
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
  if (isFrames(codec)) return parsers[codec]!()
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

/** The loop of a kind over each chunk, with the rest of the last one before it. */
async function receiveFrames(
  socket: Socket,
  loop: NonNullable<(typeof loops)[FrameKind]>,
): Promise<void> {
  let received = 0
  let rest: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk
    rest = bytes.subarray(loop(bytes, () => void received++))
  })
  await once(socket, 'end')
  counted(received)
  socket.end()
}

async function receiveByHand(socket: Socket): Promise<void> {
  const loop = peer === byHand && isFrames(codec) ? loops[codec] : undefined
  if (loop) return receiveFrames(socket, loop)
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
