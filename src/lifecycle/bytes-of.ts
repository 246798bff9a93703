/** The bytes of a connection: plain ones, and those on the wire. */

import { Socket } from 'node:net'
import { bytesSent } from '../streams/socket-handle.ts'
import type { Contexts } from './app.ts'
import { lifeOf } from './context.ts'
import type { StreamContext } from './stream-context.ts'

/** Counts of bytes that never fall while the connection lives, and stay after its end. */
export interface ByteCounts {
  /** Received and sent above TLS. Without TLS, these are the bytes on the wire. */
  readonly rx: number
  readonly tx: number
  /** Received and sent on the wire, handshakes included. */
  readonly wireRx: number
  readonly wireTx: number
}

const none: ByteCounts = { rx: 0, tx: 0, wireRx: 0, wireTx: 0 }

/** The plain bytes of sockets over which TLS was begun, by a middleware or by a client. */
const beforeTls = new WeakMap<Socket, Pick<ByteCounts, 'rx' | 'tx'>>()

/** Notes the plain bytes before a handshake that begins now, whose own bytes are on the wire alone. */
export function noteBytesBeforeTls({ socket, stream, tlsSkipped }: StreamContext): void {
  if (!socket) return
  // The first bytes of the handshake may have come already.
  const rx = socket.bytesRead - stream.readableLength
  beforeTls.set(socket, tlsSkipped ? { rx, tx: bytesSent(socket) } : none)
}

/**
 * The bytes of a connection so far; also after its end. A handshake is on the wire alone. A stream of
 * `multiplex` or a WebSocket over a connection of Cio has none: its bytes are those of that connection.
 */
export function bytesOf(ctx: StreamContext): ByteCounts {
  const { socket } = ctx
  const { transport, lent } = lifeOf(ctx)
  if (!socket || lent) return none
  const wire = transport instanceof Socket ? transport : socket
  const { bytesRead: wireRx } = wire
  const wireTx = bytesSent(wire)
  const before = beforeTls.get(wire)
  if (wire !== socket) {
    const { rx, tx } = before ?? none
    return { rx: rx + socket.bytesRead, tx: tx + bytesSent(socket), wireRx, wireTx }
  }
  const { rx, tx } = before ?? (awaitsHandshake(ctx) ? none : { rx: wireRx, tx: wireTx })
  return { rx, tx, wireRx, wireTx }
}

function awaitsHandshake(ctx: StreamContext): boolean {
  return ctx.kind === 'connection' && (ctx as Contexts['connection']).awaitsHandshake
}
