/**
 * The life of a connection:
 *
 * 1. It is accepted, or given to `app.handle()`. From here to its close it has an `error` listener,
 *    and is in the `connections` of its server. Cio emits `connection`.
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

import debug from 'debug'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { emitSafely, isRemoteFault, reasonOfError, reportError, rootCause } from './app-events.ts'
import type { App, Contexts } from './app.ts'
import {
  type ConnectionEnd,
  type EndReason,
  describeEnd,
  halfOpenError,
  nothingSaid,
  quietReasons,
  reasonOf,
} from '../connection-end.ts'
import { type ConnectionMessage, connections, publishEnd, publishStart } from './channels.ts'
import { lifeOf } from './context.ts'
import { cut, endStream } from './end-stream.ts'
import { asError, isCioError } from '../errors.ts'
import { flushTimeout } from '../streams/end-gracefully.ts'
import { type ConnectionTimes, halfOpenTimeout } from '../streams/half-open.ts'
import { stuckError } from './lifecycle.ts'
import type { FoldedProbe } from '../pipeline/probe.ts'
import { StreamContext } from './stream-context.ts'
import { isRead } from '../streams/reading.ts'
import { StreamLife } from './stream-life.ts'

const log = debug('cio:connection')

declare module './app-events.ts' {
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
}

declare module './app.ts' {
  interface Contexts {
    connection: ConnectionContext
  }
}

/** The life of a connection. */
class ConnectionLife extends StreamLife {
  ctx!: ConnectionContext
  /** The probes that saw its begin, which see its end. */
  declare probe?: FoldedProbe<ConnectionContext>
  /** Published to the diagnostic channels; absent if nothing was subscribed at its begin. */
  declare message?: ConnectionMessage
  /** When the server accepted it, by `performance.now()`. */
  acceptedAt = 0
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
  /** The server that accepted it; null for what was given to `app.handle()`. */
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
    if (socket) life.lend(socket)
    // As `net` does by default: Node ends its side when the other side ends.
    if (times.halfOpenTimeout === 0) transport.allowHalfOpen = false
    life.begin(transport)
  }

  /**
   * Notes how many bytes came before the first of the client's own, such as a PROXY header.
   *
   * @internal
   */
  set preambleSize(size: number) {
    lifeOf(this).preambleSize = size
  }

  override get kind(): 'connection' {
    return 'connection'
  }

  /** Whether `secure` will do a handshake, or is doing it. */
  get awaitsHandshake(): boolean {
    return Boolean(this.server?.tls) && !this.tlsSkipped && !lifeOf(this).isSecured
  }

  override skipTls(): void {
    if (!this.awaitsHandshake) return
    super.skipTls()
    emitSafely(this.app, 'plaintext', this)
  }
}

/** Runs the connection pipeline over a context, from accept to close. Never throws. */
export function runConnection(ctx: ConnectionContext): void {
  const { app } = ctx
  const { connection } = app.pipelines
  if (log.enabled) log('%d accepted from %s', ctx.id, ctx.remote)
  if (connection.probe) lifeOf(ctx).observe(connection.probe)
  emitSafely(app, 'connection', ctx)
  try {
    const composed = connection.compose()
    ctx.generation = connection.generation
    const run =
      composed instanceof Promise
        ? composed.then((compiled) => start(ctx, compiled))
        : start(ctx, composed)
    // Not an async function: its frame would stay for the whole life of the connection.
    run.then(
      () => returned(ctx),
      (thrown: unknown) => failed(ctx, asError(thrown)),
    )
  } catch (thrown) {
    failed(ctx, asError(thrown))
  }
}

function start(
  ctx: ConnectionContext,
  composed: (ctx: ConnectionContext) => Promise<void>,
): Promise<void> {
  if (!connections.hasSubscribers) return composed(ctx)
  return publishStart(ctx, (lifeOf(ctx).message = { ctx }), composed)
}

/** All middleware have returned: ends the stream. */
function returned(ctx: ConnectionContext): void {
  const life = lifeOf(ctx)
  life.hasReturned = true
  const { stream, transport } = life
  const ordinary = ordinaryEnd(life)
  // Most have closed by now.
  if (stream!.destroyed && transport!.destroyed)
    return end(ctx, rootCause(ctx, undefined), ordinary)
  endStream(ctx, life.times().flush).then(
    () => end(ctx, rootCause(ctx, undefined), ordinary),
    (thrown: unknown) => {
      const error = rootCause(ctx, asError(thrown))
      life.blame(error)
      life.disconnect(error)
      end(ctx, error)
    },
  )
}

/** A middleware has thrown: ends the stream as the fault demands. */
function failed(ctx: ConnectionContext, thrown: Error): void {
  const life = lifeOf(ctx)
  life.hasReturned = true
  const error = rootCause(ctx, thrown)
  const done = (): void => end(ctx, error, ordinaryEnd(life))
  cut(ctx, error).then(done, done)
}

/** Why a connection ended without an error. */
function ordinaryEnd(life: ConnectionLife): EndReason {
  if (life.wasDestroyed) return 'forced'
  if (life.phase === 'draining') return 'drained'
  if (!life.hasEnded) return 'served'
  const { ctx } = life
  return hasPassedNothing(ctx) ? 'nothing_said' : 'remote_ended'
}

/** Whether no byte passed over a server's connection, except the header of a load balancer. */
function hasPassedNothing(ctx: ConnectionContext): boolean {
  const { server, socket, encrypted } = ctx
  // Above TLS, what came before the handshake is not counted.
  const before = encrypted ? 0 : lifeOf(ctx).preambleSize
  return server !== null && socket?.bytesRead === before && socket.bytesWritten === 0
}

/** The connection is over. */
function end(
  ctx: ConnectionContext,
  cause: Error | undefined,
  ordinary: EndReason = 'served',
): void {
  const life = lifeOf(ctx)
  if (life.isSettled) return
  const isQuiet = cause && !isCioError(cause) && isRemoteFault(cause, ctx) && hasPassedNothing(ctx)
  const error = isQuiet ? nothingSaid(ctx.remote, cause) : cause
  const { app } = ctx
  const evicted = life.evictedBy
  const reason = error ? reasonOfError(error, ctx) : evicted ? reasonOf(evicted) : ordinary
  life.settle(cause)
  ctx.server?.forget(ctx)
  if (log.enabled) log('%d over: %s', ctx.id, error?.message ?? 'ended')
  if (error && !quietReasons.has(reason)) reportError(app, error, ctx)
  const { probe, message } = life
  if (!probe && !message && app.listenerCount('close') === 0) return
  const ended = describeEnd(ctx.step, reason, error ?? evicted)
  probe?.end(ctx, ended)
  if (message) publishEnd(message, ended)
  emitSafely(app, 'close', ctx, ended)
}

/** The end of a connection's pipeline: waits for the stream to finish. */
export function connectionEnd(ctx: ConnectionContext): Promise<void> {
  const life = lifeOf(ctx)
  life.ready()
  const stream = life.stream!
  // Discards input that has no reader, so that the end of the other side is noticed.
  if (!isRead(stream)) stream.resume()
  return life.over()
}
