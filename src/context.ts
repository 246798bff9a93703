/** What the contexts of all three pipelines share, and what those with a stream share. */

import type { X509Certificate } from 'node:crypto'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { presentedCertificate } from './certificate.ts'
import type { Cio } from './cio.ts'
import { CioError } from './errors.ts'
import { checkDuration } from './option.ts'
import { Peer, canonicalAddress } from './peer.ts'
import { read } from './read.ts'

/**
 * A signal that is made only when somebody asks for it: most connections never do. Until then it
 * is what has happened: nothing, an error, or an ordinary end.
 */
type Signal = AbortController | Error | 'ended' | undefined

function ask(signal: Signal, ordinary: () => Error): AbortController {
  if (signal instanceof AbortController) return signal
  const controller = new AbortController()
  if (signal) controller.abort(signal === 'ended' ? ordinary() : signal)
  return controller
}

function fire(signal: Signal, reason: Error | undefined, ordinary: () => Error): Signal {
  if (signal instanceof AbortController) {
    if (!signal.signal.aborted) signal.abort(reason ?? ordinary())
    return signal
  }
  return signal ?? reason ?? 'ended'
}

function hasFired(signal: Signal): boolean {
  return signal instanceof AbortController ? signal.signal.aborted : signal !== undefined
}

const closing = (): Error => new CioError('ERR_CIO_CLOSING', 'close() was called')
const closed = (): Error => new CioError('ERR_CIO_CLOSED', 'it was closed in the ordinary way')

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
  #closed: { promise: Promise<void>; resolve: () => void } | undefined
  #settled = false

  constructor(app: Cio) {
    this.app = app
  }

  /** A place for one's own, as in Koa. */
  get state(): Record<PropertyKey, unknown> {
    return (this.#state ??= {})
  }

  /** Aborts when it is time to finish what one is doing: `close()` was called. */
  get draining(): AbortSignal {
    this.#draining = ask(this.#draining, closing)
    return this.#draining.signal
  }

  /** Aborts when it is over; `reason` says why, `ERR_CIO_CLOSED` if nothing went wrong. */
  get signal(): AbortSignal {
    this.#signal = ask(this.#signal, closed)
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

  /** Asks to finish: aborts `draining`. */
  drain(reason?: Error): void {
    this.#draining = fire(this.#draining, reason, closing)
  }

  /** Cuts off: aborts `draining` and `signal`. The error becomes the outcome of the run. */
  destroy(reason?: Error): void {
    this.drain(reason)
    this.#signal = fire(this.#signal, reason, closed)
  }

  /** The error that `destroy()` was given, if it was called with one. */
  protected get destroyedWith(): Error | undefined {
    if (this.#signal instanceof AbortController) {
      const reason: unknown = this.#signal.signal.reason
      return reason instanceof Error ? reason : undefined
    }
    return this.#signal === 'ended' ? undefined : this.#signal
  }

  /** Ends the run: for those who run pipelines. */
  settle(outcome?: Error): void {
    this.#settled = true
    this.#draining = fire(this.#draining, outcome, closed)
    this.#signal = fire(this.#signal, outcome, closed)
    this.#closed?.resolve()
  }
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
}

/** What `close()` fulfils with. */
export interface CloseResult {
  /** How many connections had to be destroyed at the deadline. */
  readonly forced: number
}

/** The default of `close({ timeout })`, in milliseconds. */
export const closeTimeout = 15_000

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

  #stream: Duplex | undefined
  #transport: Duplex | undefined
  #ownEnds = 0
  #peer: Peer | null = null
  #peerSocket: Socket | null = null

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
      `\`${this.reached}\` reads ctx.stream, which is there from the \`connect\` step on; register it after \`connect\``,
    )
  }

  set stream(stream: Duplex) {
    if (!stream.listeners('error').includes(ignore)) stream.on('error', ignore)
    this.#ownEnds = stream.listenerCount('end')
    this.#stream = stream
  }

  /** The Duplex at the bottom, for those who bring it; its end is the end of all above it. */
  protected get transport(): Duplex | undefined {
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

  /** The other side as `address:port`, for messages. */
  get remote(): string {
    const { remoteAddress, remotePort } = this.socket ?? {}
    if (remoteAddress === undefined) return this.socket ? 'a local socket' : 'a stream'
    const address = canonicalAddress(remoteAddress)
    return address.includes(':') ? `[${address}]:${remotePort}` : `${address}:${remotePort}`
  }

  /**
   * What broke the connection: what `destroy()` was given, or the error of a socket. Undefined
   * while nothing did.
   */
  get broken(): Error | undefined {
    const error = this.destroyedWith ?? this.#stream?.errored ?? this.#transport?.errored
    return error ?? undefined
  }

  /** Whether somebody listens for the end of input who could still answer it. */
  get answersEnd(): boolean {
    return this.stream.listenerCount('end') > this.#ownEnds
  }

  override destroy(reason?: Error): void {
    super.destroy(reason)
    this.#stream?.destroy(reason)
    this.#transport?.destroy()
  }

  /**
   * Asks to finish, and fulfils when the run is over. A client then ends; a connection ends when
   * its middleware return. May be called again, with a shorter time.
   *
   * @throws `ERR_CIO_OPTION`: `timeout` is not a duration
   */
  async close({ timeout = closeTimeout }: CloseOptions = {}): Promise<CloseResult> {
    checkDuration('close', 'timeout', timeout)
    let forced = 0
    const expire = (): void => {
      forced = 1
      this.destroy()
    }
    this.drain()
    const deadline = timeout === Infinity ? undefined : setTimeout(expire, timeout)
    await this.closed
    clearTimeout(deadline)
    return { forced }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
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
