// npx tsx examples/codecs.ts
//
// The codecs that the other examples do not use, and two stream layers, each with a server and a
// client in this process. Each line of output is one answer.

import { Transform } from 'node:stream'
import { deserialize, serialize } from 'node:v8'
import { createGunzip, createGzip } from 'node:zlib'
import { cbor } from '../middleware/cbor.ts'
import { jsonStream } from '../middleware/json-stream.ts'
import {
  Cio,
  type MessagesContext,
  type Middleware,
  type StreamContext,
  codec,
  contentLength,
  frames,
  layer,
  lines,
  transform,
} from '../src/index.ts'

type Codec<Message> = () => Middleware<StreamContext, MessagesContext<Message, Message>>

/** Sends a message to a server that sends it back, both with the same codec, and prints the answer. */
async function show<Message>(name: string, make: Codec<Message>, message: Message): Promise<void> {
  const app = new Cio()
    .useConnection(make())
    .useConnection(({ messages }) => messages.each((received) => messages.send(received)))
    .useClient(make())
  const server = await app.listen({ host: '127.0.0.1' })
  const client = await app.connect({ host: '127.0.0.1', port: server.port })
  await client.messages.send(message)
  console.log(name, (await client.messages.next()).value)
  await app.close()
}

await show('contentLength', () => contentLength(), { text: 'hello' })
await show('cbor', () => cbor(), { text: 'hello' })
// Two functions of your own, over frames with a length of four bytes.
const v8 = () => codec<unknown, unknown>({ encode: serialize, decode: deserialize, length: 4 })
await show('codec', v8, { text: 'hello' })

// Frames of bytes, each after its length in two bytes.
const binary = new Cio()
  .useConnection(frames({ length: 2 }))
  .useConnection(({ messages }) => messages.each((frame) => messages.send(frame.toReversed())))
await ask('frames', binary, '\0\x05hello')

/** Sends bytes to an app, and prints its whole answer. */
async function ask(name: string, app: Cio, bytes: string): Promise<void> {
  const server = await app.listen({ host: '127.0.0.1' })
  const client = await new Cio().connect({ host: '127.0.0.1', port: server.port })
  client.stream.end(bytes)
  let answer = ''
  for await (const chunk of client) answer += String(chunk)
  console.log(name, answer.trim())
  await app.close()
}

const items = new Cio()
items.useConnection(
  jsonStream({ paths: { '$.items.*': (item, ctx) => ctx.messages.send({ took: item }) } }),
)
await ask('jsonStream', items, '{"items": [1, 2]}')

const upperCase = () =>
  new Transform({
    transform: (chunk, _encoding, done) => done(null, String(chunk).toUpperCase()),
  })
const shout = new Cio()
shout.useConnection(transform(upperCase))
await ask('transform', shout, 'hello')

const gzip = layer({ decode: () => createGunzip(), encode: () => createGzip() })
const compressed = new Cio()
  .useConnection(gzip)
  .useConnection(lines())
  .useConnection(({ messages }) => messages.each((line) => messages.send(line)))
  .useClient(gzip)
  .useClient(lines())
const server = await compressed.listen({ host: '127.0.0.1' })
const client = await compressed.connect({ host: '127.0.0.1', port: server.port })
await client.messages.send('hello')
console.log('layer', (await client.messages.next()).value)
await compressed.close()
