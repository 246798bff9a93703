/** What the contexts of connections and of clients share: those with a stream. */

import type { X509Certificate } from 'node:crypto'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type Endpoint, formatEndpoint, remoteEndpoint } from '../streams/endpoint.ts'
import { presentedCertificate } from '../identity/peer-certificate.ts'
import type { Cio } from '../cio.ts'
import { Context } from './context.ts'
import { CioError } from '../errors.ts'
import { Peer } from '../identity/peer.ts'
import { chunksOf } from '../streams/chunks-of.ts'

/** A stream that tells of an error and lives on, as TLS does with an alert of the peer, is over too. */
function destroyBy(this: Duplex, error: Error): void {
  this.destroy(error)
}

/** What both have. A middleware that is written against it works at both ends. */
export abstract class StreamContext extends Context {
  /** One of a kind within the process. */
  readonly id: number
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
  /** Whether its handshake is done. A connection makes one, whichever pipelines it goes through. */
  secured = false

  #stream: Duplex | undefined
  #brokenLayer: Error | undefined
  #transport: Duplex | undefined
  #ownEnds = 0
  #forced = false
  #peer: Peer | null = null
  #peerSocket: Socket | null = null
  #lent: Socket | undefined
  #messages: unknown

  static {
    // Only for JavaScript: the type of `ctx.messages` comes from the codec that adds it.
    Object.defineProperty(this.prototype, 'messages', {
      get(this: StreamContext): unknown {
        if (this.hasMessages) return this.#messages
        throw new CioError(
          'ERR_CIO_NO_MESSAGES',
          `\`${this.step}\` reads ctx.messages, and no codec has run; register one such as \`json()\` before it`,
        )
      },
      set(this: StreamContext, messages: unknown) {
        this.#messages = messages
      },
    })
  }

  constructor(app: Cio, id: number) {
    super(app)
    this.id = id
  }

  /**
   * The Duplex on top: the raw socket, the TLS socket, or a layer above them.
   *
   * A middleware that replaces it puts the old one back in `finally`, once `next()` has settled.
   * Every stream that is put here gets an `error` listener, so that it cannot end the process.
   */
  get stream(): Duplex {
    if (this.#stream) return this.#stream
    throw new CioError(
      'ERR_CIO_NOT_CONNECTED',
      `\`${this.step}\` reads ctx.stream, which is there from the \`connect\` step on, while there is a connection; register it after \`connect\``,
    )
  }

  set stream(stream: Duplex) {
    if (!stream.listeners('error').includes(destroyBy)) stream.on('error', destroyBy)
    // What broke a layer is what broke the connection, also when the layer is gone.
    this.#brokenLayer ??= this.#stream?.errored ?? undefined
    this.#ownEnds = stream.listenerCount('end')
    this.#stream = stream
  }

  /** The Duplex at the bottom, for those who bring it; its end is the end of all above it. */
  get transport(): Duplex | undefined {
    return this.#transport
  }

  protected set transport(transport: Duplex) {
    this.#transport = transport
    this.socket = transport instanceof Socket ? transport : null
    transport.on('error', destroyBy)
    this.#ownEnds = transport.listenerCount('end')
    this.#stream = transport
    this.secured = false
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

  /** Whether a codec has added `ctx.messages`; without one, to read them throws. */
  get hasMessages(): boolean {
    return this.#messages !== undefined
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

  /** The other side as `address:port`, for messages; and whom it speaks for, if for another. */
  get remote(): string {
    const { socket, forwardedFor } = this
    const own = remoteEndpoint(socket)
    // Node forgets the address with the socket, unless somebody has asked for it before.
    const unnamed = socket?.destroyed ? 'a peer that is gone' : 'a local socket'
    const sender = own ? formatEndpoint(own) : socket ? unnamed : 'a stream'
    if (forwardedFor === null) return sender
    const client = forwardedFor === 'unknown' ? 'an unknown client' : formatEndpoint(forwardedFor)
    return `${client} by way of ${sender}`
  }

  /**
   * What broke the connection: what `destroy()` was given, or the error of a socket. Undefined
   * while nothing did.
   */
  get broken(): Error | undefined {
    const error = this.destroyedWith ?? this.#brokenLayer ?? this.#stream?.errored
    return error ?? this.#transport?.errored ?? undefined
  }

  /** Whether somebody listens for the end of input who could still answer it. */
  get answersEnd(): boolean {
    return this.stream.listenerCount('end') > this.#ownEnds
  }

  override destroy(reason?: Error): void {
    // The first cause counts, and the network may have been the first.
    if (this.broken) this.abort(this.broken)
    else super.destroy(reason)
    this.disconnect(reason)
  }

  /** Destroys the stream and all beneath it, and leaves the run as it is. */
  disconnect(reason?: Error): void {
    this.#stream?.destroy(reason)
    if (this.socket !== this.#lent) this.socket?.destroy()
    this.#transport?.destroy()
  }

  /** Shows a socket that somebody else owns, and destroys: other streams may be in it. */
  protected borrow(socket: Socket): void {
    this.socket = socket
    this.#lent = socket
  }

  /** Forgets the stream and all beneath it. */
  protected detach(): void {
    this.#stream = undefined
    this.#transport = undefined
    this.#brokenLayer = undefined
    this.socket = null
  }

  protected override get summary(): object {
    const { id, remote, encrypted } = this
    return { id, remote, encrypted, ...super.summary }
  }

  protected override get forced(): number {
    return Number(this.#forced)
  }

  protected override force(): void {
    this.#forced ||= !this.isClosed
    super.force()
    this.destroy()
  }

  /**
   * The stream's chunks, until the end of input. The stream stays open, so that the loop can be
   * followed by a reply.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer> {
    return chunksOf(this.stream)
  }
}

/** A resumed TLS 1.3 session without a certificate is `authorized` on Node 20: hence the second test. */
function verifiedCertificate(socket: Socket | null): X509Certificate | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  return presentedCertificate(socket)
}
