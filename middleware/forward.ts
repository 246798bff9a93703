import type { Duplex } from 'node:stream'
import { optionsOf } from '../src/lifecycle/arguments.ts'
import type { ConnectOptions } from '../src/client/client.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError, asError, isCioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { join } from './forward/join.ts'
import { Upstream } from './forward/upstream.ts'

/**
 * Where a connection is piped to: a port of this host, the path of a Unix socket, options of
 * `connect()`, a client's context that `connect()` has resolved to, or a Duplex.
 */
export type ForwardTarget = number | string | ConnectOptions | Duplex | StreamContext

/** Says where a connection is piped to, or makes the connection to there. */
export type ChooseTarget = (ctx: ConnectionContext) => ForwardTarget | Promise<ForwardTarget>

/** Options of {@link forward}. */
export interface ForwardOptions {
  /**
   * Milliseconds for the connection to the target to be made, unless the target says so itself.
   * `Infinity` leaves it to the kernel.
   *
   * @default 10_000
   */
  readonly connectTimeout?: number
  /**
   * Makes what the target is told first, before a TLS handshake with it too, such as a header of
   * the PROXY protocol.
   *
   * @default nothing
   */
  readonly header?: (ctx: ConnectionContext) => Uint8Array | string
}

const defaultConnectTimeout = 10_000

/**
 * Connects to another address and passes bytes on, both ways, as they are.
 *
 * Each direction ends by itself: a half-close arrives as one, and an answer still comes back. A side
 * that does not read holds back the other. If one side is lost before both directions have ended, the
 * other is reset, so that half of an answer does not look whole. With TLS on the server, or in the
 * target's options, it ends or begins there; the target sees the address of the proxy, so name the
 * client by `header`.
 *
 * Nothing bounds how long a connection without a byte stays.
 *
 * @pipelines connection
 * @order last: it reads and writes `ctx.stream` until its end
 * @adds nothing
 * @rejects `ERR_CIO_UPSTREAM` (local): the target cannot be connected to, or is lost
 * @throws `ERR_CIO_OPTION`: the target or an option is of the wrong kind or out of its range
 *
 * @example
 * import { Cio, forward } from 'cio'
 *
 * const echo = new Cio().useConnection(({ stream }, next) => {
 *   stream.pipe(stream)
 *   return next()
 * })
 * const { port } = await echo.listen(0)
 *
 * const proxy = new Cio().useConnection(forward(port))
 * const server = await proxy.listen(0)
 * await server.close()
 * await echo.close()
 */
export function forward(
  target: ForwardTarget | ChooseTarget,
  options: ForwardOptions = {},
): Middleware<ConnectionContext> {
  const { connectTimeout = defaultConnectTimeout, header } = options
  checkOptionNames('forward', options, ['connectTimeout', 'header'])
  checkDuration('forward', 'connectTimeout', connectTimeout)
  if (header !== undefined && typeof header !== 'function') {
    throw optionError('forward', 'header', 'a function', header)
  }
  if (typeof target !== 'function') checkTarget(target)

  const upstream = new Upstream(connectTimeout)

  return defineMiddleware<ConnectionContext>({ name: 'forward' }, async function forward(ctx) {
    let reached: Parameters<typeof join>[1]
    try {
      const bytes = header?.(ctx)
      const chosen = typeof target === 'function' ? await target(ctx) : target
      checkTarget(chosen)
      reached = await upstream.reach(ctx, chosen, bytes)
    } catch (thrown) {
      if (ctx.isClosed) throw ctx.signal.reason
      throw unreachable(ctx, asError(thrown))
    }
    return join(ctx, reached)
  })
}

function unreachable({ remote }: StreamContext, cause: Error): CioError {
  if (isCioError(cause, 'ERR_CIO_OPTION')) return cause
  const message = `the target of \`forward\` cannot be reached for ${remote}: ${cause.message}`
  return new CioError('ERR_CIO_UPSTREAM', message, { cause })
}

function checkTarget(target: unknown): void {
  const isObject = typeof target === 'object' && target !== null
  // A stream or a context is checked when it is reached.
  if (isObject && ('pipe' in target || 'closed' in target)) return
  if (isObject || typeof target === 'number' || (typeof target === 'string' && target !== '')) {
    return void optionsOf('connect', target)
  }
  throw optionError('forward', 'target', 'a port, a path, options, a stream or a function', target)
}

export { forward as default }
