/** The context of a client, to which `connect()` resolves, and the life of that client. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { type ConnectOptions, placeOf } from './connect-options.ts'
import { type ConnectionEnd, describeEnd, halfOpenError } from '../connection-end.ts'
import { CioError } from '../errors.ts'
import { reportError } from '../lifecycle/app-events.ts'
import type { App } from '../lifecycle/app.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { stuckError } from '../lifecycle/lifecycle.ts'
import { concealed } from '../lifecycle/secret-options.ts'
import { StreamContext } from '../lifecycle/stream-context.ts'
import { StreamLife } from '../lifecycle/stream-life.ts'
import type { FoldedProbe } from '../pipeline/probe.ts'
import { flushTimeout } from '../streams/end-gracefully.ts'
import { remoteEndpoint } from '../streams/endpoint.ts'
import { halfOpenTimeout } from '../streams/half-open.ts'

declare module '../lifecycle/app.ts' {
  interface AppEvents {
    /** A client is connected, and its pipeline has reached its end. Again after each reconnect. */
    connect: [ctx: ClientContext]
    /**
     * The connection of a client has closed, with its error, if any, and its end. `reconnect` reports
     * whether another attempt follows.
     */
    disconnect: [
      error: CioError | NodeJS.ErrnoException | undefined,
      ctx: ClientContext,
      end: ConnectionEnd,
    ]
  }
  interface Contexts {
    client: ClientContext
  }
}

/** The life of a client, which may have one connection after another. */
class ClientLife extends StreamLife {
  ctx!: ClientContext
  /** Why the last attempt to connect failed. */
  failure: Error | undefined
  /** Whether a connection was ever made. */
  hasConnected = false
  /** The probes that saw the begin of this attempt, and have not seen its end. */
  declare probe?: FoldedProbe<ClientContext>
  #wake = (): void => {}

  override get cause(): Error | undefined {
    return super.cause ?? this.failure
  }

  override detach(): void {
    super.detach()
    this.failure = undefined
  }

  observe(probe: FoldedProbe<ClientContext>): void {
    this.probe = probe
    probe.begin(this.ctx)
  }

  observed(end: ConnectionEnd): void {
    const { probe } = this
    delete this.probe
    probe?.end(this.ctx, end)
  }

  times(): { readonly halfOpen: number; readonly flush: number } {
    const { halfOpenTimeout: halfOpen = halfOpenTimeout, flushTimeout: flush = flushTimeout } =
      this.ctx.options
    return { halfOpen, flush }
  }

  /** Fulfils when the client is asked to finish. */
  untilDraining(): Promise<void> {
    if (this.isDraining) return Promise.resolve()
    return new Promise((resolve) => (this.#wake = resolve))
  }

  protected override drained(reason?: Error): void {
    if (this.wasReady) this.#wake()
    else if (this.phase !== 'closed')
      this.destroy(reason ?? new CioError('ERR_CIO_CLOSED', 'close() was called'))
  }

  protected override socket(): Socket | null {
    return this.ctx.socket
  }

  // Another connection may follow.
  protected override transportClosed(): void {}

  protected override halfOpenFor(timeout: number): void {
    this.disconnect(halfOpenError(this.ctx, timeout))
  }

  protected override leaveBehind(): void {
    const error = stuckError(this.ctx)
    reportError(this.ctx.app, error, this.ctx)
    this.observed(describeEnd(this.ctx.step, 'stuck', error))
    this.settle()
  }
}

/** The context of one `connect()`. `connect()` also resolves to it. */
export class ClientContext extends StreamContext {
  /** @internal */
  declare readonly lifeType: ClientLife
  /** Whether the run is at the end of its pipeline: connected, and inside all middleware. */
  connected = false
  /**
   * Whether the other side had ended, or the connection was lost, when the middleware of the last
   * connection returned. Otherwise the handler ended it.
   *
   * @internal
   */
  lost = false
  readonly #connectListeners = new Set<() => void>()
  #options: ConnectOptions

  constructor(app: App, options: ConnectOptions) {
    const life = new ClientLife()
    super(app, life)
    life.ctx = this
    this.#options = concealed(options)
  }

  /**
   * The options of this run; `certs` replaces file names by their contents. Keys and passphrases
   * are not enumerable. If you assign options without them, the present ones are kept.
   */
  get options(): ConnectOptions {
    return this.#options
  }

  set options(options: ConnectOptions) {
    this.#options = concealed(options, this.#options)
  }

  /** The kind of the context. */
  override get kind(): 'client' {
    return 'client'
  }

  /**
   * Gives the context a new connection: for the `connect` step and middleware that replace it.
   *
   * @internal
   */
  attach(stream: Duplex): void {
    this.detach()
    // TLS to a proxy does not identify the server behind it.
    this.socket = stream instanceof Socket && !(stream instanceof TLSSocket) ? stream : null
    const life = lifeOf(this)
    if (life.times().halfOpen === 0) stream.allowHalfOpen = false
    life.begin(stream)
  }

  /**
   * Forgets a closed connection and its error. For middleware that connect again.
   *
   * @internal
   */
  detach(): void {
    lifeOf(this).detach()
    this.socket = null
    this.lost = false
  }

  /**
   * The other side, for error messages: the requested target through a proxy, and while there is no
   * open socket. Node drops the address of a socket that closes.
   */
  override get remote(): string {
    const { options, socket } = this
    return options.createConnection || !remoteEndpoint(socket) ? placeOf(options) : super.remote
  }

  /**
   * Calls a function each time the client is connected, before the event `connect`. Returns a
   * function that stops this.
   *
   * @internal
   */
  onConnect(listener: () => void): () => void {
    this.#connectListeners.add(listener)
    return () => void this.#connectListeners.delete(listener)
  }

  /**
   * Notes that the run is at the end of its pipeline.
   *
   * @internal
   */
  come(): void {
    this.connected = true
    for (const listener of this.#connectListeners) listener()
  }
}
