/** One `connect()`: its context, which is also what `connect()` resolves to, and the `connect` step. */

import debug from 'debug'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions as NodeTlsOptions, TLSSocket } from 'node:tls'
import type { CertFilesOptions } from '../../middleware/certs.ts'
import { emitSafely, rootCause } from '../lifecycle/app-events.ts'
import type { Cio } from '../cio.ts'
import { endStream, untilStreamEnds, nextId } from '../lifecycle/connection.ts'
import { type ConnectTarget, type CreateConnection, dial, placeOf } from './dial.ts'
import { CioError, asError } from '../errors.ts'
import { checkOptions } from '../known-options.ts'
import type { Next } from '../pipeline/middleware.ts'
import { checkDuration } from '../options.ts'
import { checkPeerNeeds } from '../peer-needs.ts'
import { arrive, run, stoppedError } from '../lifecycle/run.ts'
import { flushTimeout } from '../server/server.ts'
import { concealed } from '../secret-options.ts'
import { StreamContext } from '../lifecycle/stream-context.ts'

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
  /** Ends the client when it aborts: at once before it is connected, by `close()` after. */
  readonly signal?: AbortSignal
}

/** The context of one `connect()`, and what it resolves to. */
export class ClientContext extends StreamContext {
  /** Whether it is at its far end: it has a connection, and its middleware stand round it. */
  connected = false
  /**
   * Whether the other side had ended, or the connection was gone, when its middleware returned; as
   * against a handler that was done. Of the last connection.
   */
  lost = false
  readonly #connectListeners = new Set<() => void>()
  #options: ConnectOptions
  #failure: Error | undefined
  #wake = (): void => {}

  constructor(app: Cio, options: ConnectOptions) {
    super(app, nextId())
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

  /** Gives the context a new connection: for the `connect` step, and for those who replace it. */
  attach(stream: Duplex): void {
    this.detach()
    this.transport = stream
    // TLS to a proxy says nothing about who is behind it.
    if (stream instanceof TLSSocket) this.socket = null
  }

  /** Forgets a connection that is over, and what broke it: for those who make another one. */
  override detach(): void {
    super.detach()
    this.lost = false
    this.#failure = undefined
  }

  /** Notes why a connection was not made: it is what broke it. */
  fail(error: Error): void {
    this.#failure = error
  }

  override get broken(): Error | undefined {
    return super.broken ?? this.#failure
  }

  /** The other side, for messages; behind a proxy, what was asked for. */
  override get remote(): string {
    return this.options.createConnection ? placeOf(this.options) : super.remote
  }

  /**
   * Calls a function each time that it has come to its far end, before `connect` tells of it.
   * Returns what ends that.
   */
  onConnect(listener: () => void): () => void {
    this.#connectListeners.add(listener)
    return () => void this.#connectListeners.delete(listener)
  }

  /** Says that it has come to its far end. */
  come(): void {
    this.connected = true
    for (const listener of this.#connectListeners) listener()
  }

  override drain(reason?: Error): void {
    super.drain(reason)
    if (this.arrived) this.#wake()
    else if (!this.isClosed)
      this.destroy(reason ?? new CioError('ERR_CIO_CLOSED', 'close() was called'))
  }

  /** Fulfils when `close()` is called. */
  untilDraining(): Promise<void> {
    if (this.isDraining) return Promise.resolve()
    return new Promise((resolve) => (this.#wake = resolve))
  }
}

/** Runs the client pipeline; resolves when it is connected, rejects if it failed before. */
export function runClient(ctx: ClientContext): Promise<void> {
  return run(ctx, ctx.app.pipelines.client, (thrown) => {
    const error = rootCause(
      ctx,
      thrown ?? (connected.has(ctx) ? undefined : stoppedError(ctx, 'connected')),
    )
    log('%d over: %s', ctx.id, error?.message ?? 'ended')
    return error
  })
}

const connected = new WeakSet<ClientContext>()

/** Past the last middleware of a client: it is connected, until its end or `close()`. */
export async function clientEnd(ctx: ClientContext): Promise<void> {
  ctx.come()
  arrive(ctx)
  emitSafely(ctx.app, 'connect', ctx)
  try {
    await Promise.race([untilStreamEnds(ctx), ctx.untilDraining()])
  } finally {
    ctx.connected = false
  }
}

/** The `connect` step: a connection that lives until what is inside the step returns. */
export async function connect(ctx: ClientContext, next: Next): Promise<void> {
  const { options } = ctx
  checkOptions('connect', options)
  checkPeerNeeds(ctx)
  const { flushTimeout: timeout = flushTimeout } = options
  checkDuration('connect', 'flushTimeout', timeout)
  await open(ctx)

  let came = false
  const forget = ctx.onConnect(() => (came = true))
  let thrown: Error | undefined
  try {
    await next()
    ctx.lost = hasEnded(ctx)
    await endStream(ctx, timeout)
  } catch (error) {
    ctx.lost ||= hasEnded(ctx)
    thrown = asError(error)
    // The cause, where what was thrown is its consequence.
    throw rootCause(ctx, thrown) ?? thrown
  } finally {
    if (thrown) ctx.disconnect()
    forget()
    ctx.options = options
    if (came) emitSafely(ctx.app, 'disconnect', rootCause(ctx, thrown), ctx)
  }
}

async function open(ctx: ClientContext): Promise<void> {
  try {
    // Also aborts where close() was called before.
    const { stream, options } = await dial(ctx.options, ctx.draining)
    ctx.attach(stream)
    ctx.options = options
    connected.add(ctx)
  } catch (thrown) {
    const error = asError(ctx.isClosed ? ctx.signal.reason : thrown)
    if (!ctx.isDraining) ctx.fail(error)
    throw error
  }
}

function hasEnded({ stream, transport = stream }: ClientContext): boolean {
  return [stream, transport].some(({ destroyed, readableEnded }) => destroyed || readableEnded)
}
