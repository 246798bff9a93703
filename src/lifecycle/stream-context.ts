/** The common part of the contexts of connections and clients: both have a stream. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type Endpoint, formatEndpoint, remoteEndpoint } from '../streams/endpoint.ts'
import { verifiedCertificate } from '../identity/peer-certificate.ts'
import { Context, lifeOf } from './context.ts'
import { CioError } from '../errors.ts'
import { Peer } from '../identity/peer.ts'
import { chunksOf } from '../streams/chunks-of.ts'
import { keptRemote } from '../streams/kept-remote.ts'
import { handleKind } from '../streams/socket-handle.ts'
import type { StreamLife } from './stream-life.ts'

let lastId = 0

/** The common context. A middleware that uses only this type works on servers and clients. */
export abstract class StreamContext extends Context {
  /** @internal */
  declare readonly lifeType: StreamLife
  /** The kind of the context. */
  abstract override readonly kind: 'connection' | 'client'
  /** Unique within the process. */
  readonly id: number = ++lastId
  /** The net or TLS socket beneath the stream; null without one, as on an in-memory pair. */
  socket: Socket | null = null
  /**
   * The client behind a trusted proxy, such as a load balancer with `proxyProtocol`. `'unknown'` if
   * the proxy does not name the client. Null if the other side is not a proxy.
   */
  forwardedFor: Endpoint | 'unknown' | null = null
  /** Whether `secure` skips the handshake; see `skipTls()`. */
  tlsSkipped = false
  /**
   * Sends a ping of the transport, and fulfils with its pong; rejects if the connection closes
   * before. Undefined if the transport has no pings; WebSocket and `multiplex` have them. Code that
   * passes a stream to `handle()` may add it by `extend`.
   */
  declare readonly ping?: () => Promise<void>

  #peer: Peer | null = null
  #peerSocket: Socket | null = null

  static {
    // Only for JavaScript: the type of `ctx.messages` comes from the codec that adds it.
    Object.defineProperty(this.prototype, 'messages', {
      get(this: StreamContext): never {
        throw new CioError(
          'ERR_CIO_NO_MESSAGES',
          `\`${this.step}\` reads ctx.messages, and no codec has run; register one such as \`json()\` before it`,
        )
      },
      set(this: StreamContext, messages: unknown) {
        const plain = { writable: true, enumerable: true, configurable: true }
        Object.defineProperty(this, 'messages', { value: messages, ...plain })
      },
    })
  }

  /**
   * The top Duplex: the raw socket, the TLS socket, or a layer above them.
   *
   * A middleware that replaces it must restore the old one in `finally`, after `next()` has
   * settled. Each stream that is assigned gets an `error` listener, so that it cannot end the
   * process.
   */
  get stream(): Duplex {
    const { stream } = lifeOf(this)
    if (stream) return stream
    throw new CioError(
      'ERR_CIO_NOT_CONNECTED',
      `\`${this.step}\` reads ctx.stream, which is there from the \`connect\` step on, while there is a connection; register it after \`connect\``,
    )
  }

  set stream(stream: Duplex) {
    lifeOf(this).put(stream)
  }

  /**
   * The Duplex at the bottom, for middleware that create it. When it ends, all layers above it end.
   *
   * @internal
   */
  get transport(): Duplex | undefined {
    return lifeOf(this).transport
  }

  /** The other side's identity from a verified certificate, or null. Read on first use. */
  get peer(): Peer | null {
    if (this.#peerSocket !== this.socket) {
      this.#peerSocket = this.socket
      const certificate = verifiedCertificate(this.socket)
      this.#peer = certificate ? new Peer(certificate) : null
    }
    return this.#peer
  }

  /** Whether there is TLS beneath the stream. */
  get encrypted(): boolean {
    return this.socket instanceof TLSSocket
  }

  /**
   * Fulfils when the TLS handshake is done, or when it is clear that there is none. Rejects if the
   * run ends before. On a client that reconnects it belongs to the current connection.
   */
  get secured(): Promise<void> {
    return lifeOf(this).secured
  }

  /** Whether a codec has added `ctx.messages`; without one, reading the property throws. */
  get hasMessages(): boolean {
    return Object.hasOwn(this, 'messages')
  }

  /** Makes `secure` skip the TLS handshake: for a middleware before it. */
  skipTls(): void {
    this.tlsSkipped = true
  }

  /**
   * The client's IP address for limits, lists by address and logs, in canonical form: that of
   * `forwardedFor`, or else the socket's own. Null on a Unix socket, or if the proxy does not name
   * the client: the address of a load balancer must not count as its clients'.
   */
  get address(): string | null {
    if (this.forwardedFor === 'unknown') return null
    return (this.forwardedFor ?? ownRemote(this))?.address ?? null
  }

  /** The protocol negotiated by ALPN; null without one. */
  get alpnProtocol(): string | null {
    return (this.socket instanceof TLSSocket && this.socket.alpnProtocol) || null
  }

  /** The other side as `address:port`, for messages, with the client behind a proxy, if any. */
  get remote(): string {
    const { socket, forwardedFor } = this
    const own = ownRemote(this)
    const sender = own ? formatEndpoint(own) : socket ? withoutAddress(socket) : 'a stream'
    if (forwardedFor === null) return sender
    const client = forwardedFor === 'unknown' ? 'an unknown client' : formatEndpoint(forwardedFor)
    return `${client} by way of ${sender}`
  }

  /**
   * The error of the connection: the argument of `destroy()`, or the error of a socket. Undefined
   * without one.
   *
   * @internal
   */
  get broken(): Error | undefined {
    return lifeOf(this).cause
  }

  /**
   * Destroys the stream and all beneath it, but not the run: a client may connect again.
   *
   * @internal
   */
  disconnect(cause?: Error): void {
    lifeOf(this).disconnect(cause)
  }

  /** @internal */
  protected override get summary(): object {
    const { id, remote, encrypted } = this
    return { id, remote, encrypted, ...super.summary }
  }

  /**
   * The stream's chunks, until the end of input. The stream stays open, so that you can reply after
   * the loop.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer> {
    return chunksOf(this.stream)
  }
}

/** Not a private getter, which takes 8 bytes of each context. */
function ownRemote(ctx: StreamContext): Endpoint | null {
  return keptRemote(ctx) ?? remoteEndpoint(ctx.socket)
}

/**
 * A socket without an address: Node loses the address when it destroys the socket. If the
 * connection was reset before accept, even the kernel has no address for it.
 */
function withoutAddress(socket: Socket): string {
  return handleKind(socket) === 'Pipe' ? 'a local socket' : 'an address that is no longer known'
}
