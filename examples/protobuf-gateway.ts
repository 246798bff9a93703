// npx tsx examples/protobuf-gateway.ts
//
// A gateway that asks sensors for readings, by Protocol Buffers: several questions at once, answers
// by id, and heartbeats both ways. Start a sensor with
// `npx tsx examples/protobuf-gateway.ts sensor-1`. Then kill, freeze (Ctrl+Z) and restart either of
// them, and see how the other side notices and continues. proto/sensors_pb.ts was made of
// proto/sensors.proto by protoc-gen-es.

import { setTimeout as sleep } from 'node:timers/promises'
import type { MessageInitShape } from '@bufbuild/protobuf'
import { protobuf } from '../middleware/protobuf.ts'
import { Cio, type CioError, heartbeat, isCioError, reconnect, requests } from '../src/index.ts'
import { type Frame, FrameSchema } from './proto/sensors_pb.ts'

type Sent = MessageInitShape<typeof FrameSchema>

const [name] = process.argv.slice(2)
const port = Number(process.env.PORT ?? 7026)

const codec = () => protobuf(FrameSchema, { maxLength: 10_000 })
const beat = () =>
  heartbeat<Frame, Sent>({
    interval: 500,
    timeout: 1_000,
    ping: { body: { case: 'ping', value: {} } },
    isPong: ({ body }) => body.case === 'pong',
    pong: ({ body }) => (body.case === 'ping' ? { body: { case: 'pong', value: {} } } : undefined),
  })
const match = {
  idOf: ({ id, body }: Frame) => (body.case === 'reading' ? id : undefined),
  withId: (request: Sent, id: number): Sent => ({ ...request, id }),
}

if (name === undefined) await serve()
else await sense(name)

async function serve(): Promise<void> {
  const names = new WeakMap<object, string>()
  const app = new Cio()
    .useConnection(codec())
    .useConnection(beat())
    .useConnection(async function hello(ctx, next) {
      const { value } = await ctx.messages.next()
      if (value?.body.case !== 'hello') return
      names.set(ctx, value.body.value.name)
      await next()
    })
    .useConnection(requests<Frame, Sent>({ match, timeout: 5_000 }))
    .useConnection(async function poll(ctx) {
      const ask = async (channel: number): Promise<string> => {
        const { body } = await ctx.requests.call({ body: { case: 'read', value: { channel } } })
        return body.case === 'reading' ? `${body.value.channel}: ${body.value.celsius}` : '?'
      }
      while (!ctx.signal.aborted) {
        console.log(`${names.get(ctx)} has ${(await Promise.all([ask(1), ask(2)])).join(', ')}`)
        await sleep(200)
      }
    })
  app.on('remoteError', (error, ctx) => {
    console.log(`${names.get(ctx) ?? ctx.remote} is gone: ${(error as CioError).code}`)
  })
  const server = await app.listen(port)
  console.log(`sensors on port ${server.port}`)
}

async function sense(name: string): Promise<void> {
  const app = new Cio()
    .useClient(reconnect({ delay: 100, maxDelay: 500 }))
    .useClient(codec())
    .useClient(beat())
    .useClient(async function hello({ messages }, next) {
      await messages.send({ body: { case: 'hello', value: { name } } })
      await next()
    })
    .useClient(
      requests<Frame, Sent>({
        match,
        async serve({ id, body }) {
          if (body.case !== 'read') return undefined
          const { channel } = body.value
          // The first channel is slow, so that the answers come in another order.
          if (channel === 1) await sleep(50)
          return { id, body: { case: 'reading', value: { channel, celsius: 20 + channel } } }
        },
      }),
    )
  app.on('connect', () => console.log('connected'))
  app.on('reconnect', ({ error }) => {
    console.log(`away: ${isCioError(error) ? error.code : 'the gateway is not there'}`)
  })
  const client = await app.connect({ host: '127.0.0.1', port })
  await client.closed
}
