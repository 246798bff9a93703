// npx tsx examples/redis-server.ts
//
// A server that redis-cli and every Redis client can talk to: `redis-cli -p 7022 set name ann`. `frames`
// measures the values of the protocol, RESP; requests and answers are of the same kind.

import { Cio, frames, limit, timeout } from '../src/index.ts'

/** Where a value ends: a line, after which `$` has bytes and `*` has values. */
function measure(bytes: Buffer, kept: Record<string, number>): number | undefined {
  let { at = 0, left = 1 } = kept
  while (left > 0) {
    const end = at < bytes.length ? bytes.indexOf('\r\n', at) : -1
    if (end < 0) {
      // Kept for the next chunk, so that no value is measured twice.
      Object.assign(kept, { at, left })
      return undefined
    }
    const sign = bytes.toString('latin1', at, at + 1)
    const count = Number(bytes.toString('latin1', at + 1, end))
    at = end + 2
    left -= 1
    if (sign === '$' && count >= 0) at += count + 2
    if (sign === '*' && count > 0) left += count
  }
  return at
}

/** The strings of a command, which is an array, or a line of words. */
function wordsOf(frame: Buffer): string[] {
  if (!frame.toString('latin1', 0, 1).startsWith('*')) return frame.toString().trim().split(/ +/)
  const words: string[] = []
  let at = frame.indexOf('\n') + 1
  while (at < frame.length) {
    const start = frame.indexOf('\n', at) + 1
    const length = Math.max(0, Number(frame.toString('latin1', at + 1, start - 2)))
    words.push(frame.toString('utf8', start, start + length))
    at = start + length + 2
  }
  return words
}

const bulk = (text: string | undefined): string =>
  text === undefined ? '$-1\r\n' : `$${Buffer.byteLength(text)}\r\n${text}\r\n`

const store = new Map<string, string>()
const maxKeys = 10_000

function answer([command = '', key = '', value]: string[]): string {
  switch (command.toUpperCase()) {
    case 'PING':
      return '+PONG\r\n'
    case 'GET':
      return bulk(store.get(key))
    case 'SET':
      if (value === undefined) return '-ERR wrong number of arguments\r\n'
      if (store.size >= maxKeys && !store.has(key)) return '-OOM too many keys\r\n'
      store.set(key, value)
      return '+OK\r\n'
    case 'DEL':
      return `:${Number(store.delete(key))}\r\n`
    default:
      // As JSON, since a line end in it would end the answer.
      return `-ERR unknown command ${JSON.stringify(command)}\r\n`
  }
}

const app = new Cio()
  .useConnection(limit({ connections: 1_000 }))
  .useConnection(timeout({ idle: 5 * 60_000 }))
  .useConnection(frames({ measure, whole: true, maxLength: 64 * 1024 }))
  .useConnection(async ({ messages }) => {
    for await (const frame of messages) await messages.send(answer(wordsOf(frame)))
  })
app.on('remoteError', (error) => console.info(error.message))

const server = await app.listen(process.env.PORT ?? 7022)
console.log(`the Redis protocol on port ${server.port}`)
