/** AsyncLocalStorage around what a middleware runs (nodejs/node#41285). */

import test from 'ava'
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { type ServerResponse, createServer } from 'node:http'
import { WebSocket } from 'ws'
import { websocket } from '../middleware/websocket.ts'
import {
  Cio,
  type Next,
  type StreamContext,
  events,
  http,
  json,
  lines,
  multiplex,
  rpc,
} from '../src/index.ts'
import { identity } from './support/certificates.ts'
import { dial, readAll, serve } from './support/serve.ts'
import { deferred } from './support/transports.ts'

const store = new AsyncLocalStorage<string>()

function within(_ctx: StreamContext, next: Next): Promise<void> {
  return store.run('outside', next)
}

test('handlers of the streams of multiplex keep the store around it, at both ends (nodejs/node#41285)', async (t) => {
  const said = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    await ctx.messages.send(String(store.getStore()))
    for await (const line of ctx.messages) await ctx.messages.send(`${line} ${store.getStore()}`)
  })
  const app = new Cio()
    .useConnection(within)
    .useConnection(multiplex(said))
    .useClient(within)
    .useClient(multiplex(said))
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  const [accepted] = [...server.connections]
  const back = (accepted as unknown as typeof client).mux
  for (const mux of [client.mux, back]) {
    const stream = await mux.open('one')
    stream.end('again\n')
    t.is(await readAll(stream), 'outside\nagain outside\n')
  }
  await client.close()
})

test('methods of rpc and listeners of events keep the store around them', async (t) => {
  const seen: unknown[] = []
  const app = new Cio()
    .useConnection(within)
    .useConnection(json())
    .useConnection(rpc({ methods: { store: () => store.getStore() } }))
    .useClient(json())
    .useClient(rpc())
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  for (let call = 0; call < 3; call++) seen.push(await client.rpc.call('store'))
  await client.close()

  const emitter = new Cio()
    .useConnection(within)
    .useConnection(json())
    .useConnection(events())
    .useConnection(async (ctx, next) => {
      ctx.events.on('store', () => ctx.events.emit('store', store.getStore()))
      await next()
    })
  const socket = await dial(t, await serve(t, emitter))
  socket.end('["store"]\n')
  seen.push(JSON.parse(await readAll(socket)))
  t.deepEqual(seen, ['outside', 'outside', 'outside', ['store', 'outside']])
})

test('handlers of http keep the store around it, for each request of a connection', async (t) => {
  const app = new Cio()
    .useConnection(within)
    .useConnection(http((_request, response) => void response.end(store.getStore())))
  const socket = await dial(t, await serve(t, app))
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  socket.end('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
  t.is((await readAll(socket)).match(/outside/g)?.length, 2)
})

for (const [what, options] of [
  ['plain', {}],
  ['TLS', identity('server')],
] as const) {
  test(`connections of a ${what} server keep the store around the server, also after pause() and resume()`, async (t) => {
    const app = new Cio()
      .useServer((_ctx, next) => store.run('server', next))
      .useConnection((ctx) => void ctx.stream.end(store.getStore()))
      .useClient(async (ctx, next) => {
        ctx.state.said = await readAll(ctx)
        await next()
      })
    const server = await serve(t, app, options)
    const tls = what === 'TLS' ? { tls: true, rejectUnauthorized: false } : {}
    for (const again of [false, true]) {
      if (again) {
        server.pause()
        await server.resume()
      }
      const client = await app.connect({ host: '127.0.0.1', port: server.port, ...tls })
      t.is(client.state.said, 'server')
      await client.close()
    }
  })
}

test('handlers of WebSockets keep the store around websocket, also behind a request of the same connection', async (t) => {
  const said = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    await ctx.messages.send(String(store.getStore()))
    await ctx.messages.each((line) => ctx.messages.send(`${line} ${store.getStore()}`))
  })
  const app = new Cio().useConnection(within).useConnection(websocket(said))
  const server = await serve(t, app)
  const client = new WebSocket(`ws://127.0.0.1:${server.port}`)
  t.teardown(() => client.terminate())
  const heard: string[] = []
  client.on('message', (text: Buffer) => heard.push(String(text)))
  await once(client, 'message')
  client.send('again')
  await once(client, 'message')
  t.deepEqual(heard, ['outside', 'again outside'])

  const asked = deferred<ServerResponse>()
  const slow = new Cio().useConnection(within).useConnection(
    websocket(said, {
      handler: (_request, response) => asked.resolve(response),
    }),
  )
  const socket = await dial(t, await serve(t, slow))
  const upgrade = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${btoa('sixteen bytes...')}`
  socket.write(
    `GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n\r\n`,
  )
  let text = ''
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
  })
  const received = async (what: string): Promise<void> => {
    while (!text.includes(what)) await once(socket, 'data')
  }
  const response = await asked.promise
  response.end('first')
  await received('101 Switching Protocols')
  await received('outside')
})

test('a listener for upgrade of a server of yours keeps the store around http', async (t) => {
  const own = createServer()
  own.on('upgrade', (_request, socket) => {
    socket.end(`HTTP/1.1 101 Switching Protocols\r\n\r\n${store.getStore()}`)
  })
  const app = new Cio().useConnection(within).useConnection(http(own))
  const socket = await dial(t, await serve(t, app))
  socket.end('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  t.regex(await readAll(socket), /outside$/)
})
