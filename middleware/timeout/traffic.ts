/** What has passed over a connection, read from the counters that its socket keeps anyway. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'

/** Counters, to be compared with those of a moment before. */
export interface Traffic {
  /** What has come from the peer. */
  readonly read: number
  /** What the network has taken of what was written. */
  readonly sent: number
  /** Whether something that was written has not been taken yet. */
  readonly waiting: boolean
  /** Whether the peer has said something, TLS aside. */
  readonly spoken: boolean
  readonly encrypted: boolean
  /** Whether its handshake is under way. */
  readonly handshaking: boolean
}

/** Counters of a stream at the bottom of a connection. */
interface Counters {
  readonly read: () => number
  readonly sent: () => number
  readonly queued: () => number
  readonly restore: () => void
}

/** Reads the traffic of a connection, as it is now. */
export interface Meter {
  readonly read: () => Traffic
  /** Leaves the stream as it was. */
  readonly restore: () => void
}

/** Measures a connection. */
export function meter(ctx: StreamContext): Meter {
  const transport = ctx.transport!
  const counters = transport instanceof Socket ? ofSocket(transport) : ofStream(transport)
  const read = (): Traffic => {
    const { encrypted, socket, stream } = ctx
    const came = counters.read()
    return {
      read: came,
      sent: counters.sent(),
      waiting: counters.queued() + transport.writableLength + stream.writableLength > 0,
      // A TLS socket counts what was inside.
      spoken: (encrypted && isOwn(socket, transport) ? socket.bytesRead : came) > 0,
      encrypted,
      handshaking: ctx.step === 'secure' && !encrypted && !ctx.wasReady,
    }
  }
  return { read, restore: counters.restore }
}

/** Whether a socket belongs to the connection alone: one that was lent has others in it. */
function isOwn(socket: Socket | null, transport: Duplex): socket is Socket {
  return socket !== null && transport instanceof Socket
}

/** Node's handle, which knows what the kernel has not taken yet; nothing that is documented does. */
interface Handle {
  readonly bytesWritten?: number
  readonly writeQueueSize?: number
}

function ofSocket(socket: Socket): Counters {
  const handle = (): Handle => (socket as unknown as { _handle: Handle | null })._handle ?? {}
  const queued = (): number => handle().writeQueueSize ?? 0
  return {
    read: () => socket.bytesRead,
    // Not `socket.bytesWritten`, which counts what was written, whether it can be sent or not.
    sent: () => (handle().bytesWritten ?? 0) - queued(),
    queued,
    restore: () => {},
  }
}

/** A stream that keeps no counters: its pieces are counted on their way. */
function ofStream(stream: Duplex): Counters {
  const counts = { push: 0, _write: 0, _writev: 0 }
  const restores = (['push', '_write', '_writev'] as const).map((method) =>
    counting(stream, method, () => counts[method]++),
  )
  return {
    read: () => counts.push,
    // It is given the next piece when it has taken the last one.
    sent: () => counts._write + counts._writev,
    queued: () => 0,
    restore: () => {
      for (const restore of restores) restore()
    },
  }
}

type Method = (this: Duplex, ...given: unknown[]) => unknown

/** Calls `note` with each call of a method; returns what ends that. */
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
    // Somebody else may stand on top by now.
    if ((stream[method] as unknown) !== counted) return
    if (own) Object.defineProperty(stream, method, own)
    else delete (stream as unknown as Record<string, unknown>)[method]
  }
}
