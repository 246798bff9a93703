import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { optionsOf } from '../src/arguments.ts'
import { Cio } from '../src/cio.ts'
import type { ConnectOptions } from '../src/client/client.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError, asError } from '../src/errors.ts'
import { raiseListenerLimit } from '../src/streams/stack-layer.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

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
 * Each direction ends by itself: a half-close arrives as one, and an answer still comes back. Who
 * does not read holds back who writes. An error at either side ends both. With TLS on the server,
 * or in the target's options, it ends or begins there; the target sees the address of the proxy,
 * so tell it by `header` who the peer is.
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

  return defineMiddleware<ConnectionContext>({ name: 'forward' }, async function forward(ctx) {
    const { stream } = ctx
    const upstream = await reach(ctx, target, { connectTimeout, header })
    for (const side of [stream, upstream]) raiseListenerLimit(side)
    // Before those of pipeline(), which destroys one side by the error of the other.
    const lose = (cause?: Error): void => {
      if (!stream.destroyed) ctx.destroy(lost(ctx, cause))
    }
    upstream.on('error', lose)
    upstream.once('close', () => upstream.readableEnded || lose())
    const both = [pipeline(stream, upstream), pipeline(upstream, stream)]
    const failed = (await Promise.allSettled(both)).find(({ status }) => status === 'rejected')
    if (failed) throw ctx.broken ?? (failed as PromiseRejectedResult).reason
  })
}

async function reach(
  ctx: ConnectionContext,
  wanted: ForwardTarget | ChooseTarget,
  { connectTimeout, header }: { connectTimeout: number; header: ForwardOptions['header'] },
): Promise<Duplex> {
  try {
    const bytes = header?.(ctx)
    const target = typeof wanted === 'function' ? await wanted(ctx) : wanted
    checkTarget(target)
    if (!isDuplex(target) && !isContext(target))
      return await dial(ctx, target, { connectTimeout, bytes })
    const upstream = isDuplex(target) ? target : target.stream
    if (bytes !== undefined) upstream.write(bytes)
    return upstream
  } catch (thrown) {
    if (ctx.isClosed) throw ctx.signal.reason
    const cause = asError(thrown)
    if (cause instanceof CioError && cause.code === 'ERR_CIO_OPTION') throw cause
    throw new CioError(
      'ERR_CIO_UPSTREAM',
      `the target of \`pipe\` cannot be reached for ${ctx.remote}: ${cause.message}`,
      { cause },
    )
  }
}

async function dial(
  ctx: ConnectionContext,
  target: number | string | ConnectOptions,
  { connectTimeout, bytes }: { connectTimeout: number; bytes: Uint8Array | string | undefined },
): Promise<Duplex> {
  const app = new Cio()
  // What fails is told once, by the run of the connection that it is for.
  app.on('error', () => {})
  if (bytes !== undefined) {
    app.useClient(
      async function header({ stream }, next) {
        await new Promise<void>((written, failed) => {
          stream.write(bytes, (error) => (error ? failed(error) : written()))
        })
        await next()
      },
      { after: 'connect', before: 'secure' },
    )
  }
  const client = await app.connect(target, { connectTimeout, signal: ctx.signal })
  return client.stream
}

function lost({ remote }: StreamContext, cause: Error | undefined): CioError {
  const why = cause?.message ?? 'it left without an end'
  return new CioError('ERR_CIO_UPSTREAM', `the target of \`pipe\` for ${remote} is lost: ${why}`, {
    cause,
  })
}

function checkTarget(target: unknown): void {
  const isObject = typeof target === 'object' && target !== null
  if (isObject && (isDuplex(target) || isContext(target))) return
  if (isObject || typeof target === 'number' || (typeof target === 'string' && target !== '')) {
    return void optionsOf('connect', target)
  }
  throw optionError('forward', 'target', 'a port, a path, options, a stream or a function', target)
}

function isDuplex(target: ForwardTarget): target is Duplex {
  return typeof target === 'object' && 'pipe' in target && 'write' in target
}

function isContext(target: ForwardTarget): target is StreamContext {
  return typeof target === 'object' && 'stream' in target && 'closed' in target
}

export { forward as default }
