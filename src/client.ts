/** One `connect()`: its context, which is also what `connect()` resolves to, and the `connect` step. */

import debug from 'debug'
import { type NetConnectOpts, type Socket, connect as connectNet } from 'node:net'
import type { ConnectionOptions as NodeTlsOptions } from 'node:tls'
import type { CertsOptions } from '../middleware/certs.ts'
import { outcome } from './app-events.ts'
import type { Cio } from './cio.ts'
import { conclude, finished, nextId } from './connection.ts'
import { StreamContext } from './context.ts'
import { CioError, asError } from './errors.ts'
import type { Next } from './middleware.ts'
import { checkDuration } from './option.ts'
import { arrive, run, stopped } from './run.ts'
import { flushTimeout } from './server.ts'

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
  return run(ctx, ctx.app.pipelines.client, (thrown) => {
    const error = outcome(
      ctx,
      thrown ?? (connected.has(ctx) ? undefined : stopped(ctx, 'connected')),
    )
    log('%d over: %s', ctx.id, error?.message ?? 'ended')
    return error
  })
}

const connected = new WeakSet<ClientContext>()

/** Past the last middleware of a client: it is connected, until its end or `close()`. */
export async function clientEnd(ctx: ClientContext): Promise<void> {
  arrive(ctx)
  await Promise.race([finished(ctx), ctx.untilDraining()])
}

/** The `connect` step: a connection that lives until what is inside the step returns. */
export async function connect(ctx: ClientContext, next: Next): Promise<void> {
  const { flushTimeout: timeout = flushTimeout } = ctx.options
  checkDuration('connect', 'flushTimeout', timeout)
  await open(ctx)
  connected.add(ctx)
  try {
    await next()
    await conclude(ctx, timeout)
  } catch (error) {
    ctx.disconnect()
    throw error
  }
}

function open(ctx: ClientContext): Promise<void> {
  const { signal: ours, options } = ctx
  const { connectTimeout = defaultConnectTimeout } = options
  checkDuration('connect', 'connectTimeout', connectTimeout)
  ours.throwIfAborted()

  return new Promise((resolve, reject) => {
    const socket = connectNet({
      noDelay: true,
      ...options,
      allowHalfOpen: true,
      signal: undefined,
    } as unknown as NetConnectOpts)
    const abort = (): void => void socket.destroy(asError(ours.reason))
    const expire = (): void => void socket.destroy(timedOut(options, connectTimeout))
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
      // At once: whatever happens from here on happens to the context.
      ctx.attach(socket)
      socket.off('error', fail)
      resolve()
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
