/** Upgrades in the order of the requests of a connection. */

import { AsyncLocalStorage } from 'node:async_hooks'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'

type Upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void

/**
 * Delays an upgrade until the previous request has its response. Node does not wait, and a response
 * that ends the connection would end the WebSocket too.
 */
export function afterResponse(server: Server, upgrade: Upgrade): Upgrade {
  const open = new WeakMap<Duplex, ServerResponse>()
  server.on('request', ({ socket }, response) => {
    open.set(socket, response)
    response.once('close', () => {
      if (open.get(socket) === response) open.delete(socket)
    })
  })
  return (request, socket, head) => {
    // The HTTP server has released the socket, and ws has not yet added its error listener.
    socket.on('error', () => {})
    const begin = (): void => {
      if (socket.writable) upgrade(request, socket, head)
      else socket.destroy()
    }
    const before = open.get(socket)
    if (before) before.once('close', AsyncLocalStorage.bind(begin))
    else begin()
  }
}
