/** Servers and clients that close themselves when their test is over. */

import type { ExecutionContext } from 'ava'
import { once } from 'node:events'
import { type Server, type Socket, connect as connectNet } from 'node:net'
import type { CloseOptions, ListenOptions, ServerContext } from '../../src/index.ts'

/** What `closeAfter` needs of an app, whatever its middleware have added. */
interface Closes {
  removeAllListeners(event: 'remoteError'): unknown
  close(options: CloseOptions): Promise<unknown>
}

/** What `serve` needs of it. */
interface Serves<S extends object> extends Closes {
  listen(options: ListenOptions): Promise<ServerContext & S>
}

/** Closes an app with the test. Whom that cuts off, in the midst of an end too, is of no interest. */
export function closeAfter(t: Pick<ExecutionContext, 'teardown'>, app: Closes): void {
  t.teardown(() => {
    app.removeAllListeners('remoteError')
    return app.close({ timeout: 0 })
  })
}

/**
 * Listens on a free port of the loopback address, and closes the whole app with the test. A handshake may
 * take as long as a busy machine takes; AVA ends one that hangs.
 */
export async function serve<S extends object>(
  t: ExecutionContext,
  app: Serves<S>,
  options: ListenOptions = {},
): Promise<ServerContext & S> {
  closeAfter(t, app)
  return app.listen({ host: '127.0.0.1', port: 0, handshakeTimeout: Infinity, ...options })
}

/** A bare socket, connected, that is destroyed with the test. Its errors are of no interest. */
export async function dial(t: ExecutionContext, server: { port: number }): Promise<Socket> {
  const socket = connectNet({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Everything a stream says until its end. */
export async function readAll(stream: AsyncIterable<Buffer | string>): Promise<string> {
  let text = ''
  for await (const chunk of stream) text += chunk.toString()
  return text
}

/** A bare server of Node's, listening on a free port, or on this one, that closes with the test. */
export async function listenBare(t: ExecutionContext, server: Server, on = 0): Promise<number> {
  server.listen(on, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}
