/** The traffic of a connection, from the counters that its socket keeps anyway. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { bytesAccepted, bytesHeld } from '../../src/streams/handle.ts'

/** Counters, to compare with those of an earlier check. */
export interface Traffic {
  /** Bytes received from the peer. */
  readonly read: number
  /** Written bytes that the network has accepted. */
  readonly sent: number
  /** Whether written bytes are still unsent. */
  readonly waiting: boolean
  /** Whether the peer has sent a byte, not counting TLS overhead. */
  readonly spoken: boolean
  readonly encrypted: boolean
  /** Whether the handshake is in progress. */
  readonly handshaking: boolean
}

/** Counters of the underlying stream of a connection. */
interface Counters {
  readonly read: () => number
  /** Whether something was received that is not the transport's own, such as a ping. */
  readonly came: () => boolean
  readonly sent: () => number
  readonly queued: () => number
  readonly restore: () => void
}

/** Reads the current traffic of a connection. */
export interface Meter {
  readonly read: () => Traffic
  /** Removes the counters from the stream. */
  readonly restore: () => void
}

/** Creates the meter of a connection. */
export function meter(ctx: StreamContext): Meter {
  const transport = ctx.transport!
  const counters = transport instanceof Socket ? ofSocket(transport) : ofStream(transport)
  const read = (): Traffic => {
    const { encrypted, socket, stream } = ctx
    return {
      read: counters.read(),
      sent: counters.sent(),
      waiting: counters.queued() + transport.writableLength + stream.writableLength > 0,
      // A TLS socket counts the decrypted bytes.
      spoken: encrypted && isOwn(socket, transport) ? socket.bytesRead > 0 : counters.came(),
      encrypted,
      handshaking: ctx.step === 'secure' && !encrypted && !ctx.wasReady,
    }
  }
  return { read, restore: counters.restore }
}

/** Whether a socket belongs to this connection alone, and does not carry other streams as well. */
function isOwn(socket: Socket | null, transport: Duplex): socket is Socket {
  return socket !== null && transport instanceof Socket
}

function ofSocket(socket: Socket): Counters {
  return {
    read: () => socket.bytesRead,
    came: () => socket.bytesRead > 0,
    sent: () => bytesAccepted(socket),
    queued: () => bytesHeld(socket),
    restore: () => {},
  }
}

/**
 * For a stream without counters: counts its chunks as they pass. If it has `bytesRead`, as a WebSocket
 * has, these bytes count too: those of half a message, of pings and pongs.
 */
function ofStream(stream: Duplex & { readonly bytesRead?: number }): Counters {
  const counts = { push: 0, _write: 0, _writev: 0 }
  const restores = (['push', '_write', '_writev'] as const).map((method) =>
    counting(stream, method, () => counts[method]++),
  )
  return {
    read: () => counts.push + (stream.bytesRead ?? 0),
    came: () => counts.push > 0,
    // The stream gets the next chunk only after it has accepted the last one.
    sent: () => counts._write + counts._writev,
    queued: () => 0,
    restore: () => {
      for (const restore of restores) restore()
    },
  }
}

type Method = (this: Duplex, ...given: unknown[]) => unknown

/** Calls `note` on each call of a method; returns a function that stops it. */
function counting(
  stream: Duplex,
  method: 'push' | '_write' | '_writev',
  note: () => void,
): () => void {
  const original = stream[method] as Method | null | undefined
  if (!original) return () => {}
  const own = Object.getOwnPropertyDescriptor(stream, method)
  const counted: Method = function (this: Duplex, ...given) {
    note()
    return original.apply(this, given)
  }
  Object.defineProperty(stream, method, { value: counted, configurable: true, writable: true })
  return () => {
    // Another wrapper may be on top by now.
    if ((stream[method] as unknown) !== counted) return
    if (own) Object.defineProperty(stream, method, own)
    else delete (stream as unknown as Record<string, unknown>)[method]
  }
}
