// npx tsx examples/requests.ts
//
// A binary protocol in a few lines: a frame is its length, an id, a kind and text, all of fixed width.
// `requests` matches the answers. The program serves it, and then calls itself:
//
//   00 0a  00 01  01  68 65 6c 6c 6f ...
//   length id     kind text

import { Cio, codec, requests } from '../src/index.ts'

// The kinds of answers have the highest bit.
const kinds = { upper: 1, count: 2, part: 0x81, answer: 0x82, error: 0x83 }

interface Frame {
  readonly id: number
  readonly kind: number
  readonly text: string
}

const wire = () =>
  codec<Frame>({
    length: 2,
    encode({ id, kind, text }) {
      const head = Buffer.alloc(3)
      head.writeUInt16BE(id, 0)
      head.writeUInt8(kind, 2)
      return Buffer.concat([head, Buffer.from(text)])
    },
    decode: (frame) => ({
      id: frame.readUInt16BE(0),
      kind: frame.readUInt8(2),
      text: frame.toString('utf8', 3),
    }),
  })

const match = {
  idOf: ({ id, kind }: Frame) => (kind & 0x80 ? id : undefined),
  withId: (frame: Frame, id: number) => ({ ...frame, id }),
  maxId: 0xffff,
}

const app = new Cio()
  .useConnection(wire())
  .useConnection(
    requests<Frame>({
      match,
      async serve({ id, kind, text }, { send }) {
        if (kind === kinds.upper) return { id, kind: kinds.answer, text: text.toUpperCase() }
        if (kind !== kinds.count) return { id, kind: kinds.error, text: `no kind ${kind}` }
        for (let at = 1; at < Number(text); at++) {
          await send({ id, kind: kinds.part, text: String(at) })
        }
        return { id, kind: kinds.answer, text }
      },
    }),
  )
  .useClient(wire())
  .useClient(
    requests<Frame>({
      match,
      isLast: ({ kind }) => kind !== kinds.part,
      failure: ({ kind, text }) => (kind === kinds.error ? new Error(text) : undefined),
    }),
  )

const server = await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT ?? 7016) })
console.log(`frames with ids on port ${server.port}`)

const client = await app.connect({ host: '127.0.0.1', port: server.port })
const call = async (kind: number, text: string): Promise<string> =>
  (await client.requests.call({ id: 0, kind, text })).text

console.log(await call(kinds.upper, 'hello'))
for await (const { text } of client.requests.stream({ id: 0, kind: kinds.count, text: '3' })) {
  console.log(`part ${text}`)
}
await call(9, '').catch((error: Error) => console.log(error.message))
await client.close()
