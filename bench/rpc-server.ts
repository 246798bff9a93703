/**
 * The server of one side of `rpc.ts`, in a process of its own: `add` by one of the libraries.
 *
 * It says its port, and leaves with its parent.
 */

import createDuplexEmitter from 'duplex-emitter'
import jayson from 'jayson'
import { once } from 'node:events'
import { type AddressInfo, type Server, createServer } from 'node:net'
import split2 from 'split2'
import { createMessageConnection } from 'vscode-jsonrpc/node'
import { Cio, contentLength, events, json, rpc } from 'cio'

/** The libraries, Cio's middleware with their codecs, and the least that a conversation takes. */
export type Library =
  | 'net by hand'
  | 'cio events'
  | 'duplex-emitter'
  | 'cio rpc'
  | 'cio rpc, Content-Length'
  | 'jayson'
  | 'vscode-jsonrpc'

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
process.send!(await servers[process.argv[2] as Library]())
