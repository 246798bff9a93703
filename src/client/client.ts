/** One `connect()`: its context, which is also what `connect()` resolves to, and the `connect` step. */

import debug from 'debug'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type { TlsClientOptions } from '../tls/tls-options.ts'
import { emitSafely, rootCause, reportError } from '../lifecycle/app-events.ts'
import type { App } from '../lifecycle/app.ts'
import {
  type ConnectionEnd,
  type EndReason,
  describeEnd,
  halfOpenError,
  reasonOf,
} from '../connection-end.ts'
import { flushTimeout } from '../streams/end-gracefully.ts'
import { endStream, reasonOfError } from '../lifecycle/connection.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { stuckError } from '../lifecycle/lifecycle.ts'
import { type ConnectTarget, type CreateConnection, dial, placeOf } from './dial.ts'
import { CioError, asError, isCioError } from '../errors.ts'
import { checkOptions, tlsWish } from '../lifecycle/known-options.ts'
import type { Next } from '../pipeline/middleware.ts'
import { checkDuration } from '../options.ts'
import type { FoldedProbe } from '../pipeline/probe.ts'
import { checkPeerNeeds, noSecureStep } from '../identity/peer-needs.ts'
import { run, stoppedError } from '../lifecycle/run.ts'
import { concealed } from '../lifecycle/secret-options.ts'
import { StreamContext } from '../lifecycle/stream-context.ts'
import { StreamLife } from '../lifecycle/stream-life.ts'
import { halfOpenTimeout } from '../streams/half-open.ts'

const log = debug('cio:client')

declare module '../lifecycle/app-events.ts' {
  interface AppEvents {
    /** A client is connected, and its pipeline has reached its end. Again after each reconnect. */
    connect: [ctx: ClientContext]
    /**
     * The connection of a client has closed, with its error, if any, and its end. `reconnect` reports
     * whether another attempt follows.
     */
    disconnect: [error: Error | undefined, ctx: ClientContext, end: ConnectionEnd]
  }
}

declare module '../lifecycle/app.ts' {
  interface Contexts {
    client: ClientContext
  }
}

/**
 * Options of `connect()`: Node's own of `net.connect` and `tls.connect`, with the certificates as
 * `certs` takes them, and Cio's.
 *
 * Any option of TLS turns TLS on. `allowHalfOpen` is always on; `noDelay` is on unless it is
 * switched off.
 */
export interface ConnectOptions extends TlsClientOptions {
  readonly noDelay?: boolean
  readonly keepAlive?: boolean
  readonly keepAliveInitialDelay?: number
  readonly localAddress?: string
  readonly localPort?: number
  readonly family?: number
  readonly hints?: number
  readonly autoSelectFamily?: boolean
  /** Bytes that the socket buffers in each direction. Without it, Node's default. */
  readonly highWaterMark?: number
  /**
   * Milliseconds for each address of a name before the next one is tried; the last has all the time
   * that is left. Node's default is 250, which is too short for distant servers.
   *
   * @default 1_000
   */
  readonly autoSelectFamilyAttemptTimeout?: number
  /** Several targets, tried in turn: the array that `connect()` is given. */
  readonly targets?: readonly ConnectTarget[]
  /**
   * The order in which `targets` are tried: as given, or at random each time.
   *
   * @default 'given'
   */
  readonly order?: 'given' | 'random'
  /**
   * Makes the connection instead of `net.connect`: through a proxy, for example. Cio adds TLS on
   * top if it is configured; an identity beneath it is not `ctx.peer`.
   */
  readonly createConnection?: CreateConnection
  /**
   * Milliseconds for the connection to each target to be made, name look-up included. `Infinity`
   * leaves the timeout to the kernel.
   *
   * @default 10_000
   */
  readonly connectTimeout?: number
  /**
   * Milliseconds for what was written to reach the peer once the pipeline has returned.
   * `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
  /**
   * Milliseconds that this side may be silent after the server has ended its side; each write
   * restarts the time. Then the connection is closed. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly halfOpenTimeout?: number
  /** Ends the client when it aborts: at once before it is connected, by `close()` afterwards. */
  readonly signal?: AbortSignal
}

/** The life of a client, which may have one connection after another. */
class ClientLife extends StreamLife {
  ctx!: ClientContext
  /** Why the last attempt to connect failed. */
  failure: Error | undefined
  /** Whether a connection was ever made. */
  hasConnected = false
  /** The probes that saw the begin of this attempt, and not its end yet. */
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

/** The context of one `connect()`, and what it resolves to. */
export class ClientContext extends StreamContext<ClientLife> {
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
   * Forgets a closed connection and its error: for middleware that connect again.
   *
   * @internal
   */
  detach(): void {
    lifeOf(this).detach()
    this.socket = null
    this.lost = false
  }

  /** The other side, for error messages; through a proxy, the requested target. */
  override get remote(): string {
    return this.options.createConnection ? placeOf(this.options) : super.remote
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

/** Runs the client pipeline; resolves when the client is connected, rejects if it fails before. */
export function runClient(ctx: ClientContext): Promise<void> {
  return run(ctx, ctx.app.pipelines.client, (thrown) => {
    const { hasConnected } = lifeOf(ctx)
    const error = rootCause(
      ctx,
      thrown ?? (hasConnected ? undefined : stoppedError(ctx, 'connected')),
    )
    log('%d over: %s', ctx.id, error?.message ?? 'ended')
    return error
  })
}

/** The end of a client's pipeline: waits until the connection ends or `close()` is called. */
export async function clientEnd(ctx: ClientContext): Promise<void> {
  const life = lifeOf(ctx)
  ctx.come()
  life.ready()
  emitSafely(ctx.app, 'connect', ctx)
  try {
    life.readAhead()
    await Promise.race([life.over(), life.untilDraining()])
  } finally {
    ctx.connected = false
  }
}

/** The `connect` step: a connection that lives until the inner middleware return. */
export async function connect(ctx: ClientContext, next: Next): Promise<void> {
  const { options } = ctx
  checkOptions('connect', options)
  checkPeerNeeds(ctx.app.pipelines.client, (hasStep) => whyNoPeer(options, hasStep))
  const life = lifeOf(ctx)
  const { flush, halfOpen } = life.times()
  checkDuration('connect', 'flushTimeout', flush)
  checkDuration('connect', 'halfOpenTimeout', halfOpen)
  const { probe } = ctx.app.pipelines.client
  if (probe) life.observe(probe)
  await open(ctx).catch((error: Error) => {
    if (probe) life.observed(notConnected(ctx, error))
    throw error
  })

  let came = false
  const forget = ctx.onConnect(() => (came = true))
  let thrown: Error | undefined
  let ordinary: EndReason = 'served'
  try {
    await next()
    ctx.lost = life.hasEnded
    ordinary = ordinaryEnd(ctx)
    await endStream(ctx, flush)
  } catch (error) {
    ctx.lost ||= life.hasEnded
    thrown = asError(error)
    // The original cause, if the thrown error is its consequence.
    throw rootCause(ctx, thrown) ?? thrown
  } finally {
    if (thrown) ctx.disconnect()
    forget()
    ctx.options = options
    const hears = came && ctx.app.listenerCount('disconnect') > 0
    if (hears || probe) {
      const error = rootCause(ctx, thrown)
      const end = describe(ctx, error, ordinary)
      life.observed(end)
      if (hears) emitSafely(ctx.app, 'disconnect', error, ctx, end)
    }
  }
}

function describe(
  ctx: ClientContext,
  error: Error | undefined,
  ordinary: EndReason,
): ConnectionEnd {
  const cause = error ?? lifeOf(ctx).evictedBy
  return describeEnd(ctx.step, cause ? reasonOfError(cause, ctx) : ordinary, cause)
}

/** The end of an attempt that made no connection. */
function notConnected(ctx: ClientContext, error: Error): ConnectionEnd {
  if (ctx.isDraining) return describeEnd(ctx.step, ordinaryEnd(ctx), error)
  const reason = isCioError(error) ? reasonOf(error) : 'upstream'
  return describeEnd(ctx.step, reason, error)
}

/** Why a connection ended without an error. */
function ordinaryEnd(ctx: ClientContext): EndReason {
  const { wasDestroyed, isDraining } = lifeOf(ctx)
  if (wasDestroyed) return 'forced'
  if (isDraining) return 'drained'
  return ctx.lost ? 'remote_ended' : 'served'
}

async function open(ctx: ClientContext): Promise<void> {
  const life = lifeOf(ctx)
  try {
    // Also aborts if close() was called before.
    const { stream, options } = await dial(ctx.options, ctx.draining)
    ctx.attach(stream)
    ctx.options = options
    life.hasConnected = true
  } catch (thrown) {
    const error = asError(ctx.isClosed ? ctx.signal.reason : thrown)
    if (!ctx.isDraining) life.failure = error
    throw error
  }
}

/** Why a client has no identity of its server; undefined where it may have one. */
function whyNoPeer(options: ConnectOptions, hasStep: boolean): string | undefined {
  if (!hasStep) return noSecureStep
  const { tls, targets = [] } = options
  const asks = [options, ...targets].some((one) => tlsWish('connect', one) !== undefined)
  if (tls ?? asks) return undefined
  return 'the client uses no TLS, so the server has no identity; give `connect()` the `ca` that has signed the certificate of the server, or `tls: true` for a public one'
}
