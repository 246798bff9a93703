/** The traffic of a connection, from the counters that its socket keeps anyway. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { bytesAccepted, bytesHeld } from '../../src/streams/socket-handle.ts'

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

/** Reads the current traffic of a connection. */
export interface Meter {
  read(): Traffic
  /** Removes the counters from the stream. */
  restore(): void
}

/** Creates the meter of a connection. */
export function meter(ctx: StreamContext): Meter {
  const transport = ctx.transport!
  if (!(transport instanceof Socket)) return new StreamMeter(ctx, transport)
  return new SocketMeter(ctx, transport)
}

/** Asks the counters of a socket. */
class SocketMeter implements Meter {
  readonly #ctx: StreamContext
  readonly #transport: Socket

  constructor(ctx: StreamContext, transport: Socket) {
    this.#ctx = ctx
    this.#transport = transport
  }

  read(): Traffic {
    const ctx = this.#ctx
    const transport = this.#transport
    const { encrypted, socket, stream } = ctx
    // A TLS socket counts the decrypted bytes.
    const counted = encrypted && socket ? socket : transport
    return {
      read: transport.bytesRead,
      sent: bytesAccepted(transport),
      waiting: bytesHeld(transport) + transport.writableLength + stream.writableLength > 0,
      spoken: counted.bytesRead > 0,
      encrypted,
      handshaking: isHandshaking(ctx, encrypted),
    }
  }

  restore(): void {}
}

/**
 * For a stream without counters: counts its chunks as they pass. If it has `bytesRead`, as a
 * WebSocket has, these bytes count too, for incomplete messages, pings and pongs.
 */
class StreamMeter implements Meter {
  readonly #ctx: StreamContext
  readonly #transport: Duplex & { readonly bytesRead?: number }
  readonly #counts = { push: 0, _write: 0, _writev: 0 }
  readonly #restores: (() => void)[]

  constructor(ctx: StreamContext, transport: Duplex) {
    this.#ctx = ctx
    this.#transport = transport
    const counts = this.#counts
    this.#restores = (['push', '_write', '_writev'] as const).map((method) =>
      counting(transport, method, () => counts[method]++),
    )
  }

  read(): Traffic {
    const ctx = this.#ctx
    const transport = this.#transport
    const { push, _write, _writev } = this.#counts
    const { encrypted } = ctx
    return {
      read: push + (transport.bytesRead ?? 0),
      // The stream gets the next chunk only after it has accepted the last one.
      sent: _write + _writev,
      waiting: transport.writableLength + ctx.stream.writableLength > 0,
      // Not what is the transport's own, such as a ping.
      spoken: push > 0,
      encrypted,
      handshaking: isHandshaking(ctx, encrypted),
    }
  }

  restore(): void {
    for (const restore of this.#restores) restore()
  }
}

function isHandshaking(ctx: StreamContext, encrypted: boolean): boolean {
  return ctx.step === 'secure' && !encrypted && !ctx.wasReady
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
