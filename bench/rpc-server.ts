/**
 * The server of one side of `rpc.ts`, in a process of its own: `add` by one of the libraries.
 *
 * It says its port, answers each message with its processor time, and leaves with its parent.
 */

import { createBirpc } from 'birpc'
import createDuplexEmitter from 'duplex-emitter'
import jayson from 'jayson'
import { once } from 'node:events'
import { type AddressInfo, type Server, createServer } from 'node:net'
import split2 from 'split2'
import { createMessageConnection } from 'vscode-jsonrpc/node'
import { WebSocketServer } from 'ws'
import { Cio, contentLength, events, json, requests, rpc } from 'cio'
import { websocket } from 'cio/websocket'

/** The libraries, Cio's middleware with their codecs, and the least that a conversation takes. */
export type Library =
  | 'net by hand'
  | 'cio events'
  | 'duplex-emitter'
  | 'cio rpc'
  | 'cio rpc, Content-Length'
  | 'cio requests'
  | 'birpc'
  | 'jayson'
  | 'vscode-jsonrpc'
  | 'ws by hand'
  | 'cio websocket'

const host = '127.0.0.1'
const methods = { add: ([a, b]: [number, number]) => a + b }

const servers: Record<Library, () => number | Promise<number>> = {
  'net by hand': () =>
    bare(
      createServer({ noDelay: true }, (socket) => {
        socket.pipe(split2(JSON.parse)).on('data', ([id, a, b]: [number, number, number]) => {
          socket.write(`${JSON.stringify([id, a + b])}\n`)
        })
      }),
    ),
  'cio events': () =>
    listen(
      new Cio()
        .useConnection(json())
        .useConnection(events())
        .useConnection(async ({ events }, next) => {
          events.on('add', (id, a, b) => events.emit('sum', id, Number(a) + Number(b)))
          await next()
        }),
    ),
  'duplex-emitter': () =>
    bare(
      createServer({ noDelay: true }, (socket) => {
        const emitter = createDuplexEmitter(socket)
        emitter.on('add', (id: number, a: number, b: number) => emitter.emit('sum', id, a + b))
      }),
    ),
  'cio rpc': () => listen(new Cio().useConnection(json()).useConnection(rpc({ methods }))),
  'cio rpc, Content-Length': () =>
    listen(new Cio().useConnection(contentLength()).useConnection(rpc({ methods }))),
  // The messages of `net by hand`.
  'cio requests': () =>
    listen(
      new Cio().useConnection(json<[id: number, a: number, b: number]>()).useConnection(
        requests({
          match: { idOf: () => undefined, withId: (message) => message },
          serve: ([id, a, b]) => [id, a + b],
        }),
      ),
    ),
  birpc: () =>
    bare(
      createServer({ noDelay: true }, (socket) => {
        const lines = socket.pipe(split2())
        createBirpc<object>(
          { add: (a: number, b: number) => a + b },
          {
            post: (line: string) => socket.write(`${line}\n`),
            on: (hear) => lines.on('data', hear),
            serialize: JSON.stringify,
            deserialize: JSON.parse,
          },
        )
      }),
    ),
  jayson: () =>
    bare(
      new jayson.Server({
        add: ([a, b]: [number, number], done: (error: null, sum: number) => void) =>
          done(null, a + b),
      }).tcp(),
    ),
  'vscode-jsonrpc': () =>
    bare(
      createServer({ noDelay: true }, (socket) => {
        const connection = createMessageConnection(socket, socket)
        connection.onRequest('add', (a: number, b: number) => a + b)
        connection.listen()
      }),
    ),
  async 'ws by hand'() {
    const server = new WebSocketServer({ host, port: 0 })
    server.on('connection', (socket) => {
      socket.on('message', (bytes: Buffer) => {
        const [id, a, b] = JSON.parse(bytes.toString()) as [number, number, number]
        socket.send(JSON.stringify([id, a + b]))
      })
    })
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  },
  'cio websocket': () =>
    listen(
      new Cio().useConnection(
        websocket(
          new Cio()
            .useConnection(json<[id: number, a: number, b?: number]>())
            .useConnection(({ messages }) =>
              messages.each(([id, a, b = 0]) => messages.send([id, a + b])),
            ),
        ),
      ),
    ),
}

async function listen(app: {
  listen(options: { host: string; port: number }): Promise<{ port: number }>
}): Promise<number> {
  return (await app.listen({ host, port: 0 })).port
}

async function bare(server: Server): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

process.on('disconnect', () => process.exit())
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send!(user + system)
})
process.send!(await servers[process.argv[2] as Library]())
