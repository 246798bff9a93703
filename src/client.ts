/** One `connect()`: its context, which is also what `connect()` resolves to, and the `connect` step. */

import debug from 'debug'
import { type NetConnectOpts, type Socket, connect as connectNet } from 'node:net'
import type { ConnectionOptions as NodeTlsOptions } from 'node:tls'
import type { CertsOptions } from '../middleware/certs.ts'
import { outcome, tell } from './app-events.ts'
import type { Cio } from './cio.ts'
import { conclude, finished, nextId } from './connection.ts'
import { StreamContext } from './context.ts'
import { CioError, asError } from './errors.ts'
import type { Next } from './middleware.ts'
import { checkDuration } from './option.ts'
import { flushTimeout, stopped } from './server.ts'

const log = debug('cio:client')
const defaultConnectTimeout = 10_000

/**
 * Options of `connect()`: Node's own of `net.connect` and `tls.connect`, with the certificates as
 * `certs` takes them, and Cio's.
 *
 * Any option of TLS asks for TLS. `allowHalfOpen` is always on; `noDelay` is on unless it is
 * switched off.
 */
export interface ConnectOptions
  extends
    Omit<NodeTlsOptions, keyof CertsOptions | 'socket' | 'allowHalfOpen' | 'signal' | 'timeout'>,
    CertsOptions {
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
  readonly autoSelectFamilyAttemptTimeout?: number
  /**
   * Milliseconds for the connection to be made, name look-up included. `Infinity` leaves it to the
   * kernel.
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
  /** The options of this run; `certs` has put the contents of files in place of their names. */
  options: ConnectOptions
  #wake = (): void => {}

  constructor(app: Cio, options: ConnectOptions) {
    super(app, nextId())
    this.options = options
  }

  /** Gives the context a new connection: for the `connect` step, and for those who replace it. */
  attach(socket: Socket): void {
    this.transport = socket
  }

  override drain(reason?: Error): void {
    super.drain(reason)
    if (this.arrived) this.#wake()
    else if (!this.isOver)
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
  const { app } = ctx
  const { signal } = ctx.options
  const abort = (): void => {
    if (ctx.arrived) void ctx.close()
    else ctx.destroy(asError(signal?.reason))
  }

  return new Promise((resolve, reject) => {
    arrivals.set(ctx, resolve)
    void (async () => {
      let thrown: Error | undefined
      try {
        signal?.addEventListener('abort', abort)
        if (signal?.aborted) abort()
        await (
          await app.pipelines.client.compose()
        )(ctx)
        if (!connected.has(ctx)) thrown = stopped(ctx, 'connected')
      } catch (error) {
        thrown = asError(error)
      }
      signal?.removeEventListener('abort', abort)
      const error = outcome(ctx, thrown)
      ctx.settle(error)
      log('%d over: %s', ctx.id, error?.message ?? 'ended')
      if (!error) return resolve()
      const early = !ctx.arrived
      if (early) reject(error)
      if (!early || (error as CioError).code === 'ERR_CIO_REJECTED') tell(app, error, ctx)
    })()
  })
}

const arrivals = new WeakMap<ClientContext, () => void>()
const connected = new WeakSet<ClientContext>()

/** Past the last middleware of a client: it is connected, until its end or `close()`. */
export async function clientEnd(ctx: ClientContext): Promise<void> {
  ctx.arrived = true
  arrivals.get(ctx)?.()
  await Promise.race([finished(ctx), ctx.untilDraining()])
}

/** The `connect` step: a connection that lives until what is inside the step returns. */
export async function connect(ctx: ClientContext, next: Next): Promise<void> {
  ctx.attach(await open(ctx))
  connected.add(ctx)
  try {
    await next()
    await conclude(ctx, ctx.options.flushTimeout ?? flushTimeout)
  } catch (error) {
    ctx.stream.destroy()
    throw error
  }
}

function open(ctx: ClientContext): Promise<Socket> {
  const { connectTimeout = defaultConnectTimeout } = ctx.options
  checkDuration('connect', 'connectTimeout', connectTimeout)

  return new Promise((resolve, reject) => {
    const { signal: ours } = ctx
    if (ours.aborted) return reject(asError(ours.reason))

    const options = { noDelay: true, ...ctx.options, allowHalfOpen: true, signal: undefined }
    const socket = connectNet(options as unknown as NetConnectOpts)
    const abort = (): void => void socket.destroy(asError(ours.reason))
    const expire = (): void => void socket.destroy(timedOut(ctx.options, connectTimeout))
    const timer = connectTimeout === Infinity ? undefined : setTimeout(expire, connectTimeout)
    const settle = (): void => {
      clearTimeout(timer)
      ours.removeEventListener('abort', abort)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    ours.addEventListener('abort', abort)
    socket.once('error', fail)
    socket.once('connect', () => {
      settle()
      socket.on('error', () => {})
      socket.off('error', fail)
      resolve(socket)
    })
  })
}

function timedOut({ path, host = 'localhost', port }: ConnectOptions, timeout: number): CioError {
  return new CioError(
    'ERR_CIO_CONNECT_TIMEOUT',
    `${path ?? `${host}:${port}`} was not connected within ${timeout} ms`,
    { fault: 'peer' },
  )
}
