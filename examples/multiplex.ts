// npx tsx examples/multiplex.ts
//
// Many streams over one connection. The server runs the pipeline of `sums` for each stream, and
// `events` turns each message into a named event. Server and client are in this process.

import { Cio, type MuxedContext, events, json, multiplex } from '../src/index.ts'

interface Requests {
  add: [a: number, b: number]
}

interface Replies {
  sum: [sum: number]
}

const sums = new Cio<MuxedContext>()
  .useConnection(json())
  .useConnection(events<Requests, Replies>())
  .useConnection(async function add(ctx, next) {
    console.log(`stream ${ctx.muxed.name}, for ${ctx.muxed.headers.user}`)
    ctx.events.on('add', (a, b) => ctx.events.emit('sum', a + b))
    await next()
  })

const app = new Cio().useConnection(multiplex(sums)).useClient(multiplex(sums))
const server = await app.listen({ host: '127.0.0.1' })
const client = await app.connect({ host: '127.0.0.1', port: server.port })

for (const [name, user, call] of [
  ['first', 'ann', '["add",1,2]\n'],
  ['second', 'bob', '["add",3,4]\n'],
] as const) {
  const stream = await client.mux.open(name, { user })
  stream.end(call)
  for await (const chunk of stream) console.log(`${name} answers ${String(chunk).trim()}`)
}
await app.close()
