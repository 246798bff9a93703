/** One `connect()`: its context, which is also what `connect()` resolves to, and the `connect` step. */

import debug from 'debug'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions as NodeTlsOptions, TLSSocket } from 'node:tls'
import type { CertFilesOptions } from '../../middleware/certs.ts'
import { emitSafely, rootCause, reportError } from '../lifecycle/app-events.ts'
import type { Cio } from '../cio.ts'
import { type EndReason, describeEnd, halfOpenError, stuckError } from '../connection-end.ts'
import { endStream, flushTimeout, reasonOfError } from '../lifecycle/connection.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { type ConnectTarget, type CreateConnection, dial, placeOf } from './dial.ts'
import { CioError, asError } from '../errors.ts'
import { checkOptions } from '../known-options.ts'
import type { Next } from '../pipeline/middleware.ts'
import { checkDuration } from '../options.ts'
import { checkPeerNeeds } from '../peer-needs.ts'
import { run, stoppedError } from '../lifecycle/run.ts'
import { concealed } from '../secret-options.ts'
import { StreamContext } from '../lifecycle/stream-context.ts'
import { StreamLife } from '../stream-life.ts'
import { halfOpenTimeout } from '../half-open.ts'

const log = debug('cio:client')

/**
 * Options of `connect()`: Node's own of `net.connect` and `tls.connect`, with the certificates as
 * `certs` takes them, and Cio's.
 *
 * Any option of TLS asks for TLS. `allowHalfOpen` is always on; `noDelay` is on unless it is
 * switched off.
 */
export interface ConnectOptions
  extends
    Omit<
      NodeTlsOptions,
      keyof CertFilesOptions | 'socket' | 'allowHalfOpen' | 'signal' | 'timeout'
    >,
    CertFilesOptions {
  /** Whether to use TLS, where no other option says so. */
  readonly tls?: boolean
  readonly noDelay?: boolean
  readonly keepAlive?: boolean
  readonly keepAliveInitialDelay?: number
  readonly localAddress?: string
  readonly localPort?: number
  readonly family?: number
  readonly hints?: number
  readonly autoSelectFamily?: boolean
  /** Bytes that the socket reads ahead and writes behind. Without it, those of Node. */
  readonly highWaterMark?: number
  /**
   * Milliseconds for each address of a name before the next one is tried; the last has all the
   * time that is left. Node's own are 250, too few for servers far away.
   *
   * @default 1_000
   */
  readonly autoSelectFamilyAttemptTimeout?: number
  /** Places to connect to in turn, in place of one: what `connect()` is given as an array. */
  readonly targets?: readonly ConnectTarget[]
  /**
   * The order in which `targets` are tried: as they are given, or another one each time.
   *
   * @default 'given'
   */
  readonly order?: 'given' | 'random'
  /**
   * Makes the connection in place of `net.connect`: through a proxy, or over something else. TLS,
   * if there is to be any, comes on top; an identity beneath it is not `ctx.peer`.
   */
  readonly createConnection?: CreateConnection
  /**
   * Milliseconds for the connection to each target to be made, name look-up included. `Infinity`
   * leaves it to the kernel.
   *
   * @default 10_000
   */
  readonly connectTimeout?: number
  /**
   * Milliseconds for a whole TLS handshake. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly handshakeTimeout?: number
  /**
   * Milliseconds for what was written to reach the peer once the pipeline has returned.
   * `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
  /**
   * Milliseconds that this side may be silent once the server has ended its side; each write begins
   * them anew. Then the connection is closed. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly halfOpenTimeout?: number
  /** Ends the client when it aborts: at once before it is connected, by `close()` after. */
  readonly signal?: AbortSignal
}

/** The life of a client, which may have one connection after another. */
class ClientLife extends StreamLife {
  ctx!: ClientContext
  /** Why the last connection was not made: it is what broke it. */
  failure: Error | undefined
  /** Whether a connection was ever made. */
  hasConnected = false
  #wake = (): void => {}

  override get cause(): Error | undefined {
    return super.cause ?? this.failure
  }

  override detach(): void {
    super.detach()
    this.failure = undefined
  }

  times(): { readonly halfOpen: number; readonly flush: number } {
    const { halfOpenTimeout: halfOpen = halfOpenTimeout, flushTimeout: flush = flushTimeout } =
      this.ctx.options
    return { halfOpen, flush }
  }

  /** Fulfils when it is asked to finish. */
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

  // Another one may follow.
  protected override transportClosed(): void {}

  protected override halfOpenFor(timeout: number): void {
    this.disconnect(halfOpenError(this.ctx, timeout))
  }

  protected override leaveBehind(): void {
    const error = stuckError(this.ctx)
    reportError(this.ctx.app, error, this.ctx)
    this.settle()
  }
}

/** The context of one `connect()`, and what it resolves to. */
export class ClientContext extends StreamContext<ClientLife> {
  /** Whether it is at the end of its pipeline: it has a connection that all middleware stand round. */
  connected = false
  /**
   * Whether the other side had ended, or the connection was gone, when its middleware returned; as
   * against a handler that was done. Of the last connection.
   *
   * @internal
   */
  lost = false
  readonly #connectListeners = new Set<() => void>()
  #options: ConnectOptions

  constructor(app: Cio, options: ConnectOptions) {
    const life = new ClientLife()
    super(app, life)
    life.ctx = this
    this.#options = concealed(options)
  }

  /**
   * The options of this run; `certs` has put the contents of files in place of their names. Keys and
   * passphrases are not enumerable, and options that are set here keep those that they lack.
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
   * Gives the context a new connection: for the `connect` step, and for middleware that replace it.
   *
   * @internal
   */
  attach(stream: Duplex): void {
    this.detach()
    // TLS to a proxy says nothing about what is behind it.
    this.socket = stream instanceof Socket && !(stream instanceof TLSSocket) ? stream : null
    const life = lifeOf(this)
    if (life.times().halfOpen === 0) stream.allowHalfOpen = false
    life.begin(stream)
  }

  /**
   * Forgets a connection that is over, and what broke it: for middleware that make another one.
   *
   * @internal
   */
  detach(): void {
    lifeOf(this).detach()
    this.socket = null
    this.lost = false
  }

  /** The other side, for messages; behind a proxy, what was asked for. */
  override get remote(): string {
    return this.options.createConnection ? placeOf(this.options) : super.remote
  }

  /**
   * Calls a function each time that it is connected, before `connect` reports it. Returns what ends
   * that.
   *
   * @internal
   */
  onConnect(listener: () => void): () => void {
    this.#connectListeners.add(listener)
    return () => void this.#connectListeners.delete(listener)
  }

  /**
   * Says that it is at the end of its pipeline.
   *
   * @internal
   */
  come(): void {
    this.connected = true
    for (const listener of this.#connectListeners) listener()
  }
}

/** Runs the client pipeline; resolves when it is connected, rejects if it failed before. */
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

/** Past the last middleware of a client: it is connected, until its end or `close()`. */
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

/** The `connect` step: a connection that lives until what is inside the step returns. */
export async function connect(ctx: ClientContext, next: Next): Promise<void> {
  const { options } = ctx
  checkOptions('connect', options)
  checkPeerNeeds(ctx)
  const life = lifeOf(ctx)
  const { flush, halfOpen } = life.times()
  checkDuration('connect', 'flushTimeout', flush)
  checkDuration('connect', 'halfOpenTimeout', halfOpen)
  await open(ctx)

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
    // The cause, where what was thrown is its consequence.
    throw rootCause(ctx, thrown) ?? thrown
  } finally {
    if (thrown) ctx.disconnect()
    forget()
    ctx.options = options
    if (came) disconnected(ctx, rootCause(ctx, thrown), ordinary)
  }
}

function disconnected(ctx: ClientContext, error: Error | undefined, ordinary: EndReason): void {
  if (ctx.app.listenerCount('disconnect') === 0) return
  const { evictedBy } = lifeOf(ctx)
  const cause = error ?? evictedBy
  const reason = cause ? reasonOfError(cause, ctx) : ordinary
  emitSafely(ctx.app, 'disconnect', error, ctx, describeEnd(ctx.step, reason, cause))
}

/** Why a connection ended where nothing went wrong. */
function ordinaryEnd(ctx: ClientContext): EndReason {
  const { wasDestroyed, isDraining } = lifeOf(ctx)
  if (wasDestroyed) return 'forced'
  if (isDraining) return 'drained'
  return ctx.lost ? 'remote_ended' : 'served'
}

async function open(ctx: ClientContext): Promise<void> {
  const life = lifeOf(ctx)
  try {
    // Also aborts where close() was called before.
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
