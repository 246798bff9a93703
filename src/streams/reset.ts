/** Ending a connection so that the other side cannot take it for an orderly end. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'

/** A connection: the stream on top, its net or TLS socket, and the stream at the bottom. */
export interface Resettable {
  readonly stream: Duplex
  readonly socket: Socket | null
  readonly transport: Duplex | undefined
}

/**
 * Resets a connection, so that the other side does not take what it has got for all there was.
 * What was written and not yet read may be lost.
 *
 * A Unix socket, and anything that is no socket, is destroyed: it has no reset. So is a socket whose
 * end waits behind unsent bytes, which libuv does not reset.
 *
 * @param done Called when it is gone: within this turn, over TLS in the next one.
 */
export function reset({ stream, socket, transport }: Resettable, done: () => void): void {
  // On Node 20, a reset within a callback of the TLS socket ends the process by SIGSEGV.
  if (socket instanceof TLSSocket) setImmediate(cut)
  else cut()

  function cut(): void {
    const isEnding = [stream, transport].some((one) => one?.writableEnded && !one.writableFinished)
    if (transport instanceof Socket && !stream.destroyed && !isEnding) resetSocket(transport)
    stream.destroy()
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
