// npx tsx examples/heartbeat.ts
//
// A server that finds dead connections, and holds clients to ten messages a second. It pings after
// ten seconds of silence; a client that answers with {"kind":"pong"} stays connected. Try it with
// `socat - TCP:localhost:7020`, type nothing, and see it leave after fifteen seconds.

import { Cio, heartbeat, json, rateLimit } from '../src/index.ts'

interface Message {
  readonly kind: string
}

const app = new Cio()
  .useConnection(json<Message>({ maxLength: 1_000 }))
  .useConnection(
    heartbeat<Message>({
      interval: 10_000,
      timeout: 5_000,
      ping: { kind: 'ping' },
      isPong: ({ kind }) => kind === 'pong',
      pong: ({ kind }) => (kind === 'ping' ? { kind: 'pong' } : undefined),
    }),
  )
  .useConnection(rateLimit({ rate: { count: 10, per: 1_000 } }))
  .useConnection(async ({ messages }) => {
    for await (const { kind } of messages) await messages.send({ kind: `got ${kind}` })
  })
app.on('remoteError', (error) => console.log(error.message))

const server = await app.listen(process.env.PORT ?? 7020)
console.log(`heartbeats on port ${server.port}`)
