/**
 * A thousand connections that are opened and dropped at every moment: before, during and after the
 * handshake, by an end, a half-open end and a reset, on a plain server and on a TLS server. If this
 * fails, a server that anybody can reach fills up with contexts, listeners, timers or descriptors
 * of peers that are long gone, and dies after days of uptime of what no test of one connection
 * shows. So what is counted is everything that could be left, at the end of all of them.
 */

import test from 'ava'
import { type Socket, connect as connectNet } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Cio, type ServerContext } from '../../src/index.ts'
import { contents, identity } from '../support/certificates.ts'
import { firstFlight } from '../support/tls.ts'

const connections = 1_000
const atOnce = 50

/** Ways to leave. A peer that resets is gone at once; one that ends waits for the other end. */
const leavings: ((socket: Socket) => void)[] = [
  (socket) => socket.destroy(),
  (socket) => socket.end(),
  (socket) => socket.resetAndDestroy(),
]

/** One peer: comes this far, and leaves this way; fulfils when its socket has closed. */
type Peer = (port: number, leave: (socket: Socket) => void, turn: number) => Promise<void>

function come(port: number): Socket {
  const socket = connectNet({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  socket.resume()
  return socket
}

const gone = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once('close', () => resolve()))

const beforeConnect: Peer = (port, leave) => {
  const socket = come(port)
  leave(socket)
  return gone(socket)
}

const onConnect: Peer = (port, leave) => {
  const socket = come(port)
  socket.once('connect', () => leave(socket))
  return gone(socket)
}

const withWords =
  (words: (turn: number) => Buffer): Peer =>
  (port, leave, turn) => {
    const socket = come(port)
    socket.once('connect', () => socket.write(words(turn), () => leave(socket)))
    return gone(socket)
  }

const answered =
  (words: Buffer): Peer =>
  (port, leave) => {
    const socket = come(port)
    socket.once('data', () => leave(socket))
    socket.write(words)
    return gone(socket)
  }

const secured =
  (speaks: boolean): Peer =>
  (port, leave, turn) => {
    const raw = come(port)
    raw.pause()
    const version = turn % 2 === 0 ? 'TLSv1.2' : 'TLSv1.3'
    const secure = connectTls({
      socket: raw,
      ca: contents('root.crt'),
      servername: 'localhost',
      minVersion: version,
      maxVersion: version,
    })
    secure.on('error', () => {})
    secure.resume()
    // What is beneath can be reset; an end is told by TLS.
    const leaves = (): void => leave(leave === leavings[2] ? raw : secure)
    if (speaks) secure.once('data', leaves).write('hello')
    else secure.once('secureConnect', leaves)
    return gone(raw)
  }

async function drop(port: number, peers: Peer[]): Promise<void> {
  let turn = 0
  const worker = async (): Promise<void> => {
    while (turn < connections) {
      const mine = turn++
      const leave = leavings[Math.floor(mine / peers.length) % leavings.length]!
      await peers[mine % peers.length]!(port, leave, mine)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

/** What holds a process: sockets, servers and timers, by their kind. */
function handles(): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) {
    if (!/TCP|TLS|Timeout|Pipe|Shutdown|Write/.test(kind)) continue
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

/** Fulfils when the contexts of all the connections that were accepted are over. */
async function emptied(server: ServerContext, counts: { open: number }): Promise<void> {
  while (server.connections.size > 0 || counts.open > 0) {
    await new Promise((resolve) => server.app.once('close', resolve))
  }
}

for (const kind of ['plain', 'TLS'] as const) {
  test.serial(
    `a thousand connections dropped at every moment leave nothing behind on a ${kind} server`,
    async (t) => {
      const before = handles()
      const counts = { open: 0, opened: 0 }
      const app = new Cio().useConnection(async (ctx) => {
        ctx.signal.addEventListener('abort', () => {})
        for await (const chunk of ctx) ctx.stream.write(chunk)
      })
      app.on('connection', () => {
        counts.open++
        counts.opened++
      })
      app.on('close', () => counts.open--)
      app.on('error', (error) => t.fail(error.stack))
      app.on('remoteError', () => {})
      const listeners = (): number[] =>
        app.eventNames().map((name) => app.listenerCount(name as 'close'))
      const atStart = listeners()

      const options = kind === 'TLS' ? identity('server') : {}
      const server = await app.listen({ host: '127.0.0.1', port: 0, ...options })
      const serverListeners = (): number =>
        server.server!.listenerCount('error') + (server.tls?.listenerCount('secureConnection') ?? 0)
      const ofServer = serverListeners()
      const { secure, hello } = await firstFlight(t)
      secure.destroy()
      const peers: Peer[] = [
        beforeConnect,
        onConnect,
        withWords((turn) => hello.subarray(0, 1 + (turn % (hello.length - 1)))),
        withWords(() => hello),
        withWords(() => Buffer.from('GET / HTTP/1.0\r\n\r\n')),
        answered(hello),
        ...(kind === 'TLS' ? [secured(false), secured(true)] : []),
      ]
      await drop(server.port, peers)
      await emptied(server, counts)

      t.true(counts.opened > connections / 2)
      t.is(server.connections.size, 0)
      t.is(counts.open, 0)
      t.is(serverListeners(), ofServer)
      t.deepEqual(listeners(), atStart)
      const sockets = new Promise<number>((resolve) =>
        server.server!.getConnections((_, count) => resolve(count)),
      )
      t.is(await sockets, 0)
      t.deepEqual(await server.close(), { forced: 0 })
      // Handles close in the turn after.
      await new Promise(setImmediate)
      await new Promise(setImmediate)
      t.deepEqual(handles(), before)
    },
  )
}
