/**
 * Resets a connection, at once or when it is destroyed, so that the other side does not see a
 * regular end.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { handleKind } from './socket-handle.ts'

/** A connection: the stream on top, its net or TLS socket, and the stream at the bottom. */
export interface Resettable {
  readonly stream: Duplex
  readonly socket: Socket | null
  readonly transport: Duplex | undefined
}

/**
 * Resets a connection, so that the other side does not treat truncated data as complete. Written
 * data that was not read yet may be lost.
 *
 * Unix sockets and other streams have no reset: they are destroyed. A socket whose end waits behind
 * unsent bytes is destroyed too, because libuv does not reset it.
 *
 * @param done Called when the connection is closed: in this turn, or over TLS in the next one.
 * @param error A stream without a socket is destroyed with this error: it may have its own way to
 * report one.
 */
export function reset(
  { stream, socket, transport }: Resettable,
  done: () => void,
  error?: Error,
): void {
  // On Node 20, a reset within a callback of the TLS socket crashes the process (SIGSEGV).
  if (socket instanceof TLSSocket) setImmediate(cut)
  else cut()

  function cut(): void {
    const isEnding = [stream, transport].some((one) => one?.writableEnded && !one.writableFinished)
    if (transport instanceof Socket && !stream.destroyed && !isEnding) resetSocket(transport)
    stream.destroy(transport instanceof Socket ? undefined : error)
    transport?.destroy()
    done()
  }
}

function resetSocket(socket: Socket): void {
  try {
    socket.resetAndDestroy()
  } catch (error) {
    // A Unix socket.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_INVALID_HANDLE_TYPE') throw error
  }
}

/**
 * Lets a stream that is about to be destroyed send a reset, for a run that destroys it in more than one
 * step. `resetAndDestroy()` would wait until everything is sent. Only TCP has a reset.
 */
export function resetOnDestroy(transport: Duplex | undefined): void {
  if (!(transport instanceof Socket) || handleKind(transport) !== 'TCP') return
  ;(transport as unknown as { resetAndClosing: boolean }).resetAndClosing = true
}
