/**
 * Facts that only Node's undocumented handle of a socket knows. A socket has no handle before it
 * connects, and none after it has closed.
 */

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

interface Handle {
  getpeername?(into: { address: string; port: number }): number
  readonly fd?: number
  readonly bytesWritten?: number
  readonly writeQueueSize?: number
  readonly constructor: { readonly name: string }
}

function handleOf(stream: Duplex): Handle | undefined {
  return (stream as Duplex & { readonly _handle?: Handle | null })._handle ?? undefined
}

/** Node fills it in. */
const peer = { address: '', port: 0 }

/**
 * The remote end of an open socket, until the next call; undefined without an address. Unlike
 * `socket.remoteAddress`, it leaves no object at the socket, which would stay as long as the
 * connection.
 */
export function readRemote(
  socket: Socket,
): { readonly address: string; readonly port: number } | undefined {
  if (handleOf(socket)?.getpeername?.(peer) === 0) return peer
  const { remoteAddress: address, remotePort: port } = socket
  return address === undefined ? undefined : { address, port: port! }
}

/** The kind of a socket: `TCP`, `Pipe` (a Unix socket), or another kind. */
export function handleKind(stream: Duplex): string | undefined {
  return handleOf(stream)?.constructor.name
}

/** The number of a socket's descriptor, or -1. */
export function descriptorOf(stream: Duplex): number {
  return handleOf(stream)?.fd ?? -1
}

/** Bytes that libuv holds because the kernel has not accepted them yet; 0 if unknown. */
export function bytesHeld(stream: Duplex): number {
  return handleOf(stream)?.writeQueueSize ?? 0
}

/**
 * Bytes that Node has passed on, also after the end. Not `socket.bytesWritten`, which includes bytes that
 * still wait in the stream, and falls if the stream is destroyed with them.
 */
export function bytesSent(socket: Socket): number {
  return (
    (socket as Socket & { readonly _bytesDispatched?: number })._bytesDispatched ??
    socket.bytesWritten
  )
}

/**
 * Bytes that the kernel has accepted; 0 if unknown. Not `socket.bytesWritten`, which includes bytes that
 * cannot be sent.
 */
export function bytesAccepted(stream: Duplex): number {
  return (handleOf(stream)?.bytesWritten ?? 0) - bytesHeld(stream)
}
