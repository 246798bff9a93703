/**
 * The life of a connection:
 *
 * 1. The server accepts it, or the application passes it to `app.handle()`. From here to its close
 *    it has an `error` listener, and is in the `connections` of its server. Cio emits `connection`.
 * 2. The pipeline runs: the middleware before `secure`, then the handshake (Cio emits `secure`),
 *    then the rest. Nothing is read before a middleware reads.
 * 3. At the end of the pipeline it waits for the stream to finish (`stream-life.ts`).
 * 4. When the pipeline fulfils, Cio ends the stream, flushes what was written for at most
 *    `flushTimeout`, and destroys the stream.
 * 5. When it rejects, `signal` aborts at once. If the other side is at fault, Cio flushes what was
 *    written, so that a last message arrives. If the application is at fault, it resets the
 *    connection, so that a truncated answer does not look whole.
 * 6. An error is reported once: by `reject` or `remoteError` if the other side caused it, by
 *    `error` if the application did. `close` follows, with the reason.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { emitSafely } from './app-events.ts'
import type { App, Contexts } from './app.ts'
import { type ConnectionEnd, halfOpenError } from '../connection-end.ts'
import type { ConnectionMessage } from './channels.ts'
import { lifeOf } from './context.ts'
import { flushTimeout } from '../streams/end-gracefully.ts'
import { type ConnectionTimes, halfOpenTimeout } from '../streams/half-open.ts'
import { stuckError } from './lifecycle.ts'
import type { FoldedProbe } from '../pipeline/probe.ts'
import { end } from './run-connection.ts'
import { StreamContext } from './stream-context.ts'
import { StreamLife } from './stream-life.ts'

declare module './app.ts' {
  interface AppEvents {
    /** A connection was accepted; nothing has been read from it. */
    connection: [ctx: ConnectionContext]
    /**
     * A connection skips the TLS handshake of its server, because a middleware called `skipTls()`.
     */
    plaintext: [ctx: ConnectionContext]
    /**
     * A connection has closed, and all its middleware have returned or were left behind; `end` says
     * why. Follows every `connection`.
     */
    close: [ctx: ConnectionContext, end: ConnectionEnd]
  }
  interface Contexts {
    connection: ConnectionContext
  }
}

/** The life of a connection. */
class ConnectionLife extends StreamLife {
  ctx!: ConnectionContext
  /** The probes that saw its begin; they also see its end. */
  declare probe?: FoldedProbe<ConnectionContext>
  /** The message for the diagnostic channels; undefined if nothing was subscribed at its begin. */
  declare message?: ConnectionMessage
  readonly acceptedAt: number = performance.now()
  /** The set of its server while it is open, and its neighbours there. */
  openIn: object | undefined
  before: ConnectionContext | undefined
  after: ConnectionContext | undefined
  readonly #times: ConnectionTimes

  constructor(times: ConnectionTimes) {
    super()
    this.#times = times
  }

  times(): { readonly halfOpen: number; readonly flush: number } {
    const { halfOpenTimeout: halfOpen = halfOpenTimeout, flushTimeout: flush = flushTimeout } =
      this.#times
    return { halfOpen, flush }
  }

  observe(probe: FoldedProbe<ConnectionContext>): void {
    this.probe = probe
    probe.begin(this.ctx)
  }

  protected override socket(): Socket | null {
    return this.ctx.socket
  }

  protected override drained(): void {}

  protected override transportClosed(): void {
    this.abort(this.cause)
    this.watch()
  }

  protected override halfOpenFor(timeout: number): void {
    this.destroy(halfOpenError(this.ctx, timeout))
  }

  override leaveBehind(): void {
    const { ctx } = this
    end(ctx, stuckError(ctx))
  }
}

/** The context of one accepted connection. */
export class ConnectionContext extends StreamContext {
  /** @internal */
  declare readonly lifeType: ConnectionLife
  /** The server that accepted it; null for a stream that was passed to `app.handle()`. */
  readonly server: Contexts['server'] | null

  constructor(
    app: App,
    server: Contexts['server'] | null,
    transport: Duplex,
    times: ConnectionTimes,
    socket?: Socket,
  ) {
    const life = new ConnectionLife(times)
    super(app, life)
    life.ctx = this
    this.server = server
    this.socket = socket ?? (transport instanceof Socket ? transport : null)
    life.lent = socket
    // As `net` does by default: Node ends its side when the other side ends.
    if (times.halfOpenTimeout === 0) transport.allowHalfOpen = false
    life.begin(transport)
  }

  /**
   * Notes how many bytes came before the client's own bytes: those of a PROXY header, for example.
   *
   * @internal
   */
  set preambleSize(size: number) {
    lifeOf(this).preambleSize = size
  }

  /** The kind of the context. */
  override get kind(): 'connection' {
    return 'connection'
  }

  /** When it was accepted, by `performance.now()`. */
  get acceptedAt(): number {
    return lifeOf(this).acceptedAt
  }

  /** Whether `secure` will do a handshake, or is doing it. */
  get awaitsHandshake(): boolean {
    return Boolean(this.server?.tls) && !this.tlsSkipped && !lifeOf(this).isSecured
  }

  /**
   * Makes `secure` skip the TLS handshake, and emits `plaintext`: for a middleware before `secure`.
   */
  override skipTls(): void {
    if (!this.awaitsHandshake) return
    super.skipTls()
    emitSafely(this.app, 'plaintext', this)
  }
}
