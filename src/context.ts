/** What the contexts of all three pipelines share, and what those with a stream share. */

import type { X509Certificate } from 'node:crypto'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type Endpoint, formatEndpoint, remoteEndpoint } from './address.ts'
import { tell } from './app-events.ts'
import { presentedCertificate } from './certificate.ts'
import type { Cio } from './cio.ts'
import { CioError } from './errors.ts'
import { checkDuration } from './option.ts'
import { Peer } from './peer.ts'
import { read } from './read.ts'

/** Why a signal aborts where nothing went wrong. */
const ordinary = {
  closing: (): Error => new CioError('ERR_CIO_CLOSING', 'close() was called'),
  closed: (): Error => new CioError('ERR_CIO_CLOSED', 'it was closed in the ordinary way'),
}

type Reason = Error | keyof typeof ordinary

/**
 * A signal that is made only when somebody asks for it: most connections never do. Until then it
 * is what has happened: nothing, or the reason.
 */
type Signal = AbortController | Reason | undefined

function ask(signal: Signal): AbortController {
  if (signal instanceof AbortController) return signal
  const controller = new AbortController()
  if (signal) controller.abort(errorOf(signal))
  return controller
}

function fire(signal: Signal, reason: Reason): Signal {
  if (!(signal instanceof AbortController)) return signal ?? reason
  if (!signal.signal.aborted) signal.abort(errorOf(reason))
  return signal
}

function errorOf(reason: Reason): Error {
  return typeof reason === 'string' ? ordinary[reason]() : reason
}

function hasFired(signal: Signal): boolean {
  return signal instanceof AbortController ? signal.signal.aborted : signal !== undefined
}

/** Options of `close()`. */
export interface CloseOptions {
  /**
   * Milliseconds to finish in; what is open then is destroyed. 0 destroys it at once, `Infinity`
   * waits for ever.
   *
   * @default 15_000
   */
  readonly timeout?: number
  /**
   * Milliseconds over which a server spreads asking its connections to finish, so that their peers
   * do not all come back at once; at most `timeout`.
   *
   * @default 0
   */
  readonly window?: number
}

/** What `close()` fulfils with. */
export interface CloseResult {
  /** How many connections had to be destroyed at the deadline. */
  readonly forced: number
}

/** The default of `close({ timeout })`, in milliseconds. */
export const closeTimeout = 15_000
/** Milliseconds that the middleware of a destroyed run may take to return. */
const unwindTimeout = 1_000

/** What the contexts of all three pipelines have. */
export abstract class Context {
  readonly app: Cio
  /** The innermost middleware that the run has entered: where it waits, or what returned early. */
  reached = ''
  /** Whether the run has come to its far end. */
  arrived = false

  #state: Record<PropertyKey, unknown> | undefined
  #draining: Signal
  #signal: Signal
  #destroyedWith: Error | undefined
  #closed: { promise: Promise<void>; resolve: () => void } | undefined
  #settled = false
  #unwinding: NodeJS.Timeout | undefined

  constructor(app: Cio) {
    this.app = app
  }

  /** A place for one's own, as in Koa. */
  get state(): Record<PropertyKey, unknown> {
    return (this.#state ??= {})
  }

  /** Aborts when it is time to finish what one is doing: `close()` was called. */
  get draining(): AbortSignal {
    this.#draining = ask(this.#draining)
    return this.#draining.signal
  }

  /** Aborts when it is over; `reason` says why, `ERR_CIO_CLOSED` if nothing went wrong. */
  get signal(): AbortSignal {
    this.#signal = ask(this.#signal)
    return this.#signal.signal
  }

  /** Fulfils when the run is over and all its middleware have returned. Never rejects. */
  get closed(): Promise<void> {
    if (this.#settled) return Promise.resolve()
    if (!this.#closed) {
      let resolve = (): void => {}
      const promise = new Promise<void>((fulfil) => (resolve = fulfil))
      this.#closed = { promise, resolve }
    }
    return this.#closed.promise
  }

  /** Whether `draining` has aborted; costs less than to ask for the signal. */
  get isDraining(): boolean {
    return hasFired(this.#draining)
  }

  /** Whether `signal` has aborted; costs less than to ask for the signal. */
  get isOver(): boolean {
    return hasFired(this.#signal)
  }

  /** What `destroy()` was given. */
  get destroyedWith(): Error | undefined {
    return this.#destroyedWith
  }

  /** Asks to finish: aborts `draining`. */
  drain(reason?: Error): void {
    this.#draining = fire(this.#draining, reason ?? 'closing')
  }

  /** Cuts off: aborts `signal` and `draining`. The error becomes the outcome of the run. */
  destroy(reason?: Error): void {
    if (!this.isOver) this.#destroyedWith = reason
    this.abort(reason)
  }

  /**
   * Asks to finish, destroys what is left at the deadline, and fulfils when the run is over. May be
   * called again, with a shorter time.
   *
   * A middleware that does not return even then is left behind: `error` tells of it, by
   * `ERR_CIO_STUCK`.
   *
   * @throws `ERR_CIO_OPTION`: `timeout` is not a duration
   */
  async close({ timeout = closeTimeout }: CloseOptions = {}): Promise<CloseResult> {
    checkDuration('close', 'timeout', timeout)
    if (!this.#settled) this.drain()
    if (timeout === 0) this.force()
    const timed = timeout > 0 && timeout < Infinity
    const deadline = timed ? setTimeout(() => this.force(), timeout) : undefined
    await this.closed
    clearTimeout(deadline)
    return { forced: this.forced }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** How many connections were destroyed at a deadline. */
  protected abstract get forced(): number

  /** Destroys what is left at a deadline. */
  protected force(): void {
    if (this.#settled) return
    this.#unwinding ??= setTimeout(() => {
      this.#unwinding = undefined
      this.abandon()
    }, unwindTimeout)
  }

  /** Leaves behind what has not returned since `force()`. */
  abandon(): void {
    const message = `\`${this.reached}\`, or what stands outside it, has not returned ${unwindTimeout} ms after its run was destroyed, and is left behind; it should end when ctx.signal aborts`
    tell(this.app, new CioError('ERR_CIO_STUCK', message), this)
    this.settle()
  }

  /** Aborts both signals, for a reason of the connection's own. */
  protected abort(reason: Error | undefined): void {
    this.#signal = fire(this.#signal, reason ?? 'closed')
    this.#draining = fire(this.#draining, reason ?? 'closed')
  }

  /** Ends the run: for those who run pipelines. */
  settle(outcome?: Error): void {
    clearTimeout(this.#unwinding)
    this.#settled = true
    this.abort(outcome)
    this.#closed?.resolve()
  }
}

const ignore = (): void => {}

/**
 * What connection and client contexts share. A middleware that is written against it works at
 * both ends.
 */
export abstract class StreamContext extends Context {
  /** One of a kind within the process. */
  readonly id: number
  /**
   * The net or TLS socket beneath the stream; null where there is none, as on an in-memory pair.
   */
  socket: Socket | null = null
  /**
   * Whom the other side speaks for, where a sender that is trusted has said so, such as a load
   * balancer by `proxyProtocol`. Null where it speaks for itself.
   */
  origin: Endpoint | null = null

  /** Whether it goes on without TLS, as far as `secure` is concerned; see `goPlain()`. */
  isPlain = false

  #stream: Duplex | undefined
  #brokenLayer: Error | undefined
  #transport: Duplex | undefined
  #ownEnds = 0
  #forced = false
  #peer: Peer | null = null
  #peerSocket: Socket | null = null
  #lent: Socket | undefined

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
      `\`${this.reached}\` reads ctx.stream, which is there from the \`connect\` step on, while there is a connection; register it after \`connect\``,
    )
  }

  set stream(stream: Duplex) {
    if (!stream.listeners('error').includes(ignore)) stream.on('error', ignore)
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
    transport.on('error', ignore)
    this.#ownEnds = transport.listenerCount('end')
    this.#stream = transport
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

  /** Lets `secure` make no handshake, where it would: for a middleware before it that knows better. */
  goPlain(): void {
    this.isPlain = true
  }

  /**
   * The IP address that counts, for limits, for lists by address and for logs, in canonical form:
   * that of `origin`, or else the socket's own. Null where there is none, as on a Unix socket.
   */
  get address(): string | null {
    return (this.origin ?? remoteEndpoint(this.socket))?.address ?? null
  }

  /** The protocol that both sides agreed on by ALPN; null where they did on none. */
  get alpnProtocol(): string | null {
    return (this.socket instanceof TLSSocket && this.socket.alpnProtocol) || null
  }

  /** The other side as `address:port`, for messages; and whom it speaks for, if for another. */
  get remote(): string {
    const { socket, origin } = this
    const own = remoteEndpoint(socket)
    const sender = own ? formatEndpoint(own) : socket ? 'a local socket' : 'a stream'
    return origin ? `${formatEndpoint(origin)} by way of ${sender}` : sender
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

  protected override get forced(): number {
    return Number(this.#forced)
  }

  protected override force(): void {
    this.#forced ||= !this.isOver
    super.force()
    this.destroy()
  }

  /**
   * The stream's chunks, until the end of input. The stream stays open, so that the loop can be
   * followed by a reply.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Buffer> {
    return read(this.stream)
  }
}

/** A resumed TLS 1.3 session without a certificate is `authorized` on Node 20: hence the second test. */
function verifiedCertificate(socket: Socket | null): X509Certificate | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  return presentedCertificate(socket)
}
