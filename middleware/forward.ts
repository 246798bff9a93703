import { optionsOf } from '../src/lifecycle/arguments.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError, asError, isCioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCalled, checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { atOnce } from '../src/thenable.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { join } from './forward/join.ts'
import { type ForwardTarget, Upstream } from './forward/upstream.ts'

export type { ForwardTarget }

/** Chooses the target of a connection, or connects to it. */
export type ChooseTarget = (ctx: ConnectionContext) => ForwardTarget | Promise<ForwardTarget>

/** Options of {@link forward}. */
export interface ForwardOptions {
  /**
   * Milliseconds to connect to the target, unless the target's options set their own. `Infinity`
   * leaves it to the kernel.
   *
   * @default 10_000
   */
  readonly connectTimeout?: number
  /**
   * Returns bytes to send to the target first, before any TLS handshake with it, such as a header
   * of the PROXY protocol.
   *
   * @default nothing
   */
  readonly header?: (ctx: ConnectionContext) => Uint8Array | string
}

const defaultConnectTimeout = 10_000

/**
 * TCP proxy: connects to a target and passes bytes on, both ways.
 *
 * Each direction ends by itself: a half-close is passed on, and the response still arrives. If one
 * side does not read, Cio stops reading from the other. If one side is lost before both directions
 * have ended, Cio resets the other, so that half a response does not look complete. If the server
 * has TLS, or the target's options do, TLS ends or begins at the proxy. The target sees the address
 * of the proxy, so pass on the client's address with `header`.
 *
 * It does not limit how long a connection may be idle.
 *
 * @pipelines connection
 * @order last: it reads and writes `ctx.stream` until its end
 * @adds nothing
 * @rejects `ERR_CIO_UPSTREAM` (local): the target cannot be reached, or is lost
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
  checkCalled('forward', target)
  checkOptionNames('forward', options, ['connectTimeout', 'header'])
  const { connectTimeout = defaultConnectTimeout, header } = options
  checkDuration('forward', 'connectTimeout', connectTimeout)
  if (header !== undefined && typeof header !== 'function') {
    throw optionError('forward', 'header', 'a function', header)
  }
  if (typeof target !== 'function') checkTarget(target)

  const upstream = new Upstream(connectTimeout)

  return defineMiddleware<ConnectionContext>(
    { name: 'forward', pipelines: ['connection'] },
    async function forward(ctx) {
      let reached: Parameters<typeof join>[1]
      try {
        const bytes = header && atOnce('forward', 'header', header(ctx))
        const chosen = typeof target === 'function' ? await target(ctx) : target
        checkTarget(chosen)
        reached = await upstream.reach(ctx, chosen, bytes)
      } catch (thrown) {
        if (ctx.isClosed) throw ctx.signal.reason
        throw unreachableError(ctx, asError(thrown))
      }
      return join(ctx, reached)
    },
  )
}

function unreachableError({ remote }: StreamContext, cause: Error): CioError {
  if (isCioError(cause, 'ERR_CIO_OPTION')) return cause
  const message = `the target of \`forward\` cannot be reached for ${remote}: ${cause.message}`
  return new CioError('ERR_CIO_UPSTREAM', message, { cause })
}

function checkTarget(target: unknown): void {
  const isObject = typeof target === 'object' && target !== null
  // A stream or a context is checked when it is used.
  if (isObject && ('pipe' in target || 'closed' in target)) return
  if (isObject || typeof target === 'number' || (typeof target === 'string' && target !== '')) {
    return void optionsOf('connect', target)
  }
  throw optionError('forward', 'target', 'a port, a path, options, a stream or a function', target)
}

export { forward as default }
