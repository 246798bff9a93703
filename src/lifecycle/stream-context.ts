/** What the contexts of connections and of clients share: those with a stream. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type Endpoint, formatEndpoint, remoteEndpoint } from '../streams/endpoint.ts'
import { presentedCertificate } from '../identity/peer-certificate.ts'
import { Context, lifeOf } from './context.ts'
import { CioError } from '../errors.ts'
import { Peer } from '../identity/peer.ts'
import { chunksOf } from '../streams/chunks-of.ts'
import type { StreamLife } from './stream-life.ts'

let lastId = 0

/** What both have. A middleware that is written against it works at both ends. */
export abstract class StreamContext<Life extends StreamLife = StreamLife> extends Context<Life> {
  abstract override readonly kind: 'connection' | 'client'
  /** One of a kind within the process. */
  readonly id: number = ++lastId
  /**
   * The net or TLS socket beneath the stream; null where there is none, as on an in-memory pair.
   */
  socket: Socket | null = null
  /**
   * The client that the other side relays, where a trusted sender says so, such as a load balancer
   * by `proxyProtocol`. `'unknown'` where it relays a client and does not say which. Null where it
   * speaks for itself.
   */
  forwardedFor: Endpoint | 'unknown' | null = null
  /** Whether it goes on without TLS, as far as `secure` is concerned; see `skipTls()`. */
  tlsSkipped = false

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
   * The Duplex on top: the raw socket, the TLS socket, or a layer above them.
   *
   * A middleware that replaces it puts the old one back in `finally`, once `next()` has settled.
   * Every stream that is put here gets an `error` listener, so that it cannot end the process.
   */
  get stream(): Duplex {
    const { stream } = lifeOf<StreamLife>(this)
    if (stream) return stream
    throw new CioError(
      'ERR_CIO_NOT_CONNECTED',
      `\`${this.step}\` reads ctx.stream, which is there from the \`connect\` step on, while there is a connection; register it after \`connect\``,
    )
  }

  set stream(stream: Duplex) {
    lifeOf<StreamLife>(this).put(stream)
  }

  /**
   * The Duplex at the bottom, for middleware that bring it; its end is the end of all above it.
   *
   * @internal
   */
  get transport(): Duplex | undefined {
    return lifeOf<StreamLife>(this).transport
  }

  /**
   * The other side's identity, from a certificate that was verified, or null. Read when it is
   * first asked for.
   */
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
   * Fulfils when the TLS handshake is done, or it is decided that there is none. Rejects if the run
   * ends before. On a client that reconnects it is that of the present connection.
   */
  get secured(): Promise<void> {
    return lifeOf<StreamLife>(this).secured
  }

  /** Whether a codec has added `ctx.messages`; without one, to read them throws. */
  get hasMessages(): boolean {
    return Object.hasOwn(this, 'messages')
  }

  /** Lets `secure` make no handshake, where it would: for a middleware before it that knows better. */
  skipTls(): void {
    this.tlsSkipped = true
  }

  /**
   * The IP address that counts, for limits, for lists by address and for logs, in canonical form:
   * that of `forwardedFor`, or else the socket's own. Null where there is none, as on a Unix socket, or
   * where the origin is unknown: a balancer's address must not stand for its clients'.
   */
  get address(): string | null {
    if (this.forwardedFor === 'unknown') return null
    return (this.forwardedFor ?? remoteEndpoint(this.socket))?.address ?? null
  }

  /** The protocol that both sides agreed on by ALPN; null where they did on none. */
  get alpnProtocol(): string | null {
    return (this.socket instanceof TLSSocket && this.socket.alpnProtocol) || null
  }

  /** The other side as `address:port`, for messages; and the client it speaks for, if for another. */
  get remote(): string {
    const { socket, forwardedFor } = this
    const own = remoteEndpoint(socket)
    const sender = own ? formatEndpoint(own) : socket ? withoutAddress(socket) : 'a stream'
    if (forwardedFor === null) return sender
    const client = forwardedFor === 'unknown' ? 'an unknown client' : formatEndpoint(forwardedFor)
    return `${client} by way of ${sender}`
  }

  /**
   * What broke the connection: what `destroy()` was given, or the error of a socket. Undefined
   * while nothing did.
   *
   * @internal
   */
  get broken(): Error | undefined {
    return lifeOf<StreamLife>(this).cause
  }

  /**
   * Destroys the stream and all beneath it, and leaves the run as it is: a client may connect again.
   *
   * @internal
   */
  disconnect(cause?: Error): void {
    lifeOf<StreamLife>(this).disconnect(cause)
  }

  protected override get summary(): object {
    const { id, remote, encrypted } = this
    return { id, remote, encrypted, ...super.summary }
  }

  /**
   * The stream's chunks, until the end of input. The stream stays open, so that the loop can be
   * followed by a reply.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer> {
    return chunksOf(this.stream)
  }
}

/**
 * A socket without an address. Node forgets it with the socket; and the kernel does not know it any
 * more where the connection was reset before it was accepted.
 */
function withoutAddress(socket: Socket): string {
  const { _handle } = socket as unknown as { _handle?: { constructor: { name: string } } | null }
  return _handle?.constructor.name === 'Pipe' ? 'a local socket' : 'a peer that is gone'
}

/** A resumed TLS 1.3 session without a certificate is `authorized` on Node 20: hence the second test. */
function verifiedCertificate(socket: Socket | null): Buffer | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  return presentedCertificate(socket)
}
