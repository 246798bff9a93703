/**
 * One `listen()`: its context, which is also what `listen()` resolves to, and the `listen` step.
 *
 * Closing goes in this order: stop accepting; `draining` aborts on the server and on each
 * connection; wait for the connections; at the deadline, destroy those that are left; then the
 * server's middleware return, innermost first.
 */

import debug from 'debug'
import {
  type AddressInfo,
  type ListenOptions as NodeListenOptions,
  type Server,
  type ServerOpts,
  type Socket,
  createServer,
} from 'node:net'
import type { Server as TlsServer, TlsOptions } from 'node:tls'
import { announce, tell } from './app-events.ts'
import type { CertsOptions } from '../middleware/certs.ts'
import type { Cio } from './cio.ts'
import { ConnectionContext, runConnection } from './connection.ts'
import { type CloseOptions, type CloseResult, Context, closeTimeout } from './context.ts'
import { CioError, asError } from './errors.ts'
import type { Next } from './middleware.ts'
import { checkDuration } from './option.ts'
import { createTlsServer } from './tls-server.ts'

const log = debug('cio:server')

/**
 * Options of `listen()`: Node's own of `net.createServer`, `server.listen` and `tls.createServer`,
 * with the certificates as `certs` takes them, and Cio's.
 *
 * `allowHalfOpen` is always on: the pipeline decides when to end. `noDelay` is on unless it is
 * switched off.
 */
export interface ListenOptions
  extends
    Omit<ServerOpts, 'allowHalfOpen'>,
    Omit<NodeListenOptions, 'signal'>,
    Omit<TlsOptions, keyof CertsOptions | keyof ServerOpts>,
    CertsOptions {
  /** A descriptor that listens already, such as 3, the first that systemd hands over. */
  readonly fd?: number
  /**
   * Milliseconds for a whole TLS handshake; then the connection is destroyed. `Infinity` waits
   * for ever.
   *
   * @default 10_000
   */
  readonly handshakeTimeout?: number
  /**
   * Milliseconds for what was written to reach the peer once a connection's pipeline has
   * returned. `Infinity` waits for ever.
   *
   * @default 30_000
   */
  readonly flushTimeout?: number
  /** Ends the server when it aborts: at once before it listens, by `close()` after. */
  readonly signal?: AbortSignal
}

/** The default of `flushTimeout`, in milliseconds. */
export const flushTimeout = 30_000
// How long a destroyed connection's middleware may take to return before it is left behind.
const unwindTimeout = 1_000

/** The context of one `listen()`, and what it resolves to. */
export class ServerContext extends Context {
  /** The options of this run; `certs` has put the contents of files in place of their names. */
  options: ListenOptions
  /** Node's server; undefined until the `listen` step. */
  server: Server | undefined
  /** Does the handshakes and never listens; null on a plain server. */
  tls: TlsServer | null = null

  readonly #connections = new Set<ConnectionContext>()
  #emptied = (): void => {}
  #forced = 0

  constructor(app: Cio, options: ListenOptions) {
    super(app)
    this.options = options
  }

  /** The connections that are there, from their accept to their end. */
  get connections(): ReadonlySet<ConnectionContext> {
    return this.#connections
  }

  /** Where it listens: an address, or the path of a Unix socket; null while it does not. */
  get address(): AddressInfo | string | null {
    return this.server?.address() ?? null
  }

  /** The port it listens on; 0 on a Unix socket. */
  get port(): number {
    const { address } = this
    return typeof address === 'object' ? (address?.port ?? 0) : 0
  }

  /**
   * Stops accepting, lets the connections finish, and fulfils when the last has ended and the
   * server's middleware have returned. May be called again, with a shorter time.
   *
   * @throws `ERR_CIO_OPTION`: `timeout` is not a duration
   */
  async close({ timeout = closeTimeout }: CloseOptions = {}): Promise<CloseResult> {
    checkDuration('close', 'timeout', timeout)
    if (!this.arrived) this.destroy(new CioError('ERR_CIO_CLOSED', 'close() was called'))
    this.drain()
    const deadline = timeout === Infinity ? undefined : setTimeout(() => this.#force(), timeout)
    await this.closed
    clearTimeout(deadline)
    return { forced: this.#forced }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  override drain(reason?: Error): void {
    super.drain(reason)
    if (this.server?.listening) this.server.close()
    for (const connection of this.#connections) {
      connection.drain(reason)
      // It has been accepted and has not said a word of its handshake: nothing is lost.
      if (this.tls && !connection.encrypted && connection.socket?.bytesRead === 0) {
        connection.destroy()
      }
    }
    this.#checkEmptied()
  }

  /** Runs a socket as a connection of this server. */
  accept(socket: Socket): void {
    const ctx = new ConnectionContext(this.app, this, socket)
    this.#connections.add(ctx)
    if (this.isDraining) ctx.drain()
    const run = runConnection(ctx, this.options.flushTimeout ?? flushTimeout)
    void run.then(() => {
      this.#connections.delete(ctx)
      this.#checkEmptied()
    })
  }

  /** Fulfils when it has stopped accepting and the last connection is over. */
  untilEmptied(): Promise<void> {
    return new Promise((resolve) => {
      this.#emptied = resolve
      this.#checkEmptied()
    })
  }

  #checkEmptied(): void {
    if (this.isDraining && this.#connections.size === 0) this.#emptied()
  }

  #force(): void {
    const left = [...this.#connections]
    this.#forced += left.length
    const late = new CioError(
      'ERR_CIO_DRAIN_TIMEOUT',
      'it was still open at the deadline of close()',
      {
        fault: 'peer',
      },
    )
    for (const connection of left) connection.destroy(late)
    setTimeout(() => this.#abandon(), unwindTimeout).unref()
  }

  /** A middleware that never returns must not keep the server from closing. */
  #abandon(): void {
    for (const ctx of this.#connections) {
      this.#connections.delete(ctx)
      const message = `connection ${ctx.id} was destroyed ${unwindTimeout} ms ago and \`${ctx.reached}\` has not returned; it should end when ctx.signal aborts`
      tell(this.app, new CioError('ERR_CIO_STUCK', message))
    }
    this.#checkEmptied()
  }
}

/** Runs the server pipeline; resolves when it listens, rejects if it failed before. */
export function runServer(ctx: ServerContext): Promise<void> {
  const { app } = ctx
  const { signal } = ctx.options
  const abort = (): void => {
    if (ctx.arrived) void ctx.close()
    else ctx.destroy(asError(signal?.reason))
  }

  return new Promise((resolve, reject) => {
    arrivals.set(ctx, resolve)
    void (async () => {
      let error: Error | undefined
      try {
        signal?.addEventListener('abort', abort)
        if (signal?.aborted) abort()
        await (
          await app.pipelines.server.compose()
        )(ctx)
        if (!ctx.arrived) error = stopped(ctx, 'listened')
      } catch (thrown) {
        error = asError(thrown)
      }
      signal?.removeEventListener('abort', abort)
      ctx.settle(error)
      log('closed: %s', error?.message ?? 'ended')
      if (!ctx.arrived) reject(error!)
      else if (error) tell(app, error, ctx)
    })()
  })
}

const arrivals = new WeakMap<ServerContext, () => void>()

/** Past the last middleware of a server: it listens, until the last connection has ended. */
export async function serverEnd(ctx: ServerContext): Promise<void> {
  ctx.arrived = true
  announce(ctx.app, 'listening', ctx)
  arrivals.get(ctx)?.()
  await ctx.untilEmptied()
}

/** The error of a run that a middleware ended before its far end. */
export function stopped(ctx: Context, what: string): CioError {
  return new CioError(
    'ERR_CIO_STOPPED',
    `\`${ctx.reached}\` returned without calling next(), so nothing ${what}; call next(), or throw to say why not`,
  )
}

/** The `listen` step: accepts connections until what is inside it returns. */
export async function listen(ctx: ServerContext, next: Next): Promise<void> {
  // Fails here, not at the first connection.
  await ctx.app.pipelines.connection.compose()
  ctx.tls = createTlsServer(ctx.options)

  const options = { noDelay: true, ...ctx.options, allowHalfOpen: true }
  const server = createServer(options, (socket) => ctx.accept(socket))
  ctx.server = server
  try {
    await listening(server, ctx)
    log('listens on %o', ctx.address)
    server.on('error', (error) => tell(ctx.app, error, ctx))
    await next()
  } finally {
    ctx.drain()
    if (server.listening) server.close()
  }
}

function listening(server: Server, ctx: ServerContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const { signal: ours } = ctx
    const abort = (): void => reject(asError(ours.reason))
    if (ours.aborted) return abort()
    ours.addEventListener('abort', abort)
    server.once('error', reject)
    server.listen({ ...ctx.options, signal: undefined }, () => {
      ours.removeEventListener('abort', abort)
      server.off('error', reject)
      resolve()
    })
  })
}
