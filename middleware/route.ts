import { Cio } from '../src/cio.ts'
import { debug } from '../src/debug.ts'
import type { Pipelines } from '../src/lifecycle/app.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, type Next, defineMiddleware } from '../src/pipeline/middleware.ts'
import {
  checkCalled,
  checkCount,
  checkDuration,
  checkFlag,
  checkObject,
  checkOptionNames,
  optionError,
} from '../src/options.ts'
import { Peek } from '../src/streams/peek.ts'
import type { ClientHello } from './route/client-hello.ts'
import { type Condition, type RouteConditions, compileConditions } from './route/conditions.ts'
import { FirstBytes } from './route/first-bytes.ts'

export type { ClientHello } from './route/client-hello.ts'
export type { RouteConditions } from './route/conditions.ts'

/**
 * The target of a connection: the rest of this pipeline (`'next'`), one or several middleware that
 * handle it to its end, or the connection pipeline of another app.
 */
export type RouteTarget =
  | 'next'
  | Middleware<ConnectionContext>
  | readonly Middleware<ConnectionContext>[]
  | { readonly pipelines: Pipelines }

/** One route. */
export interface Route {
  /**
   * Conditions, which must all match, or a function that returns whether the route matches.
   *
   * @default nothing: the route matches every connection
   */
  readonly when?:
    RouteConditions | ((ctx: ConnectionContext & RouteContext) => boolean | Promise<boolean>)
  /** The target of matching connections. */
  readonly to: RouteTarget
  /**
   * Lets a connection continue without TLS on a server with TLS. It has no effect on a route to
   * middleware, which never makes a handshake.
   *
   * @default false
   */
  readonly skipTls?: boolean
}

/** Options of {@link route}. */
export interface RouteOptions {
  /**
   * Milliseconds to wait for the bytes that the conditions need. After that, a condition that needs
   * more bytes does not match. `Infinity` waits for ever.
   *
   * @default 5_000
   */
  readonly timeout?: number
  /**
   * Maximum bytes to inspect; a condition that needs more does not match.
   *
   * @default 16_384
   */
  readonly maxSize?: number
}

/** What {@link route} adds. */
export interface RouteContext {
  /**
   * The client's unverified ClientHello, if `route` has read it; null if it has not, or the client
   * sent none.
   */
  clientHello: ClientHello | null
}

interface Compiled {
  readonly condition: Condition
  readonly decides: ((ctx: ConnectionContext & RouteContext) => unknown) | undefined
  readonly go: (ctx: ConnectionContext, next: Next) => Promise<void>
}

const log = debug('cio:route')
const defaultTimeout = 5_000
const defaultMaxSize = 16_384

/**
 * Routes a connection by SNI, ALPN, address or first bytes.
 *
 * Cio takes the first route whose conditions match. A condition that needs more bytes delays only
 * the routes after it. A route by address or function is decided at once, also if the client waits
 * for the server to send first. Inspected bytes are put back, and no layer remains. If no route
 * matches, Cio rejects the connection.
 *
 * It runs before TLS, so it sees what the client claims in its ClientHello. That is enough to pass
 * a connection on with `forward`, but not for authorization. On a server with TLS, `'next'` and
 * other apps make the handshake; with `skipTls` they do not, and `ctx.peer` is null. `listen()` does not
 * check what the targets need: an `allowList` in a target rejects every client if there is no TLS.
 *
 * @pipelines connection
 * @order before `secure`, after `proxyProtocol`; after TLS with the hints `{ before: [], after:
 *   'secure' }`
 * @adds `ctx.clientHello`, or null
 * @rejects `ERR_CIO_NO_ROUTE` (remote): no route matches
 * @throws `ERR_CIO_OPTION`: a route or an option is of the wrong kind or out of its range
 * @see RFC 8446, section 4.1.2; RFC 6066, section 3, for `sni`; RFC 7301, section 3.1, for `alpn`
 *
 * @example
 * import { Cio, forward, route } from 'cio'
 *
 * const admin = new Cio().useConnection((ctx) => ctx.stream.write('hello admin\n'))
 *
 * const app = new Cio().useConnection(
 *   route([
 *     { when: { address: ['10.0.0.0/8'] }, to: admin },
 *     { when: { sni: '*.example.com' }, to: forward(8443) },
 *     { when: { http: true }, to: forward(8080) },
 *     { when: { bytes: /^SSH-2/ }, to: forward(22) },
 *   ]),
 * )
 * const server = await app.listen(0)
 * await server.close()
 */
export function route(
  routes: readonly Route[],
  options: RouteOptions = {},
): Middleware<ConnectionContext, RouteContext> {
  checkCalled('route', routes)
  checkOptionNames('route', options, ['timeout', 'maxSize'])
  const { timeout = defaultTimeout, maxSize = defaultMaxSize } = options
  checkDuration('route', 'timeout', timeout)
  checkCount('route', 'maxSize', maxSize, 1)
  if (!Array.isArray(routes)) throw optionError('route', 'routes', 'a list of routes', routes)
  const compiled = routes.map(compileRoute)

  return defineMiddleware<ConnectionContext, RouteContext>(
    { name: 'route', pipelines: ['connection'], before: 'secure', provides: 'peer' },
    async function route(ctx, next) {
      ctx.clientHello = null
      const peek = new Peek(ctx.stream, { maxSize, timeout })
      let chosen: number
      try {
        chosen = await choose(ctx, compiled, new FirstBytes(ctx, peek))
      } finally {
        peek.release()
      }
      if (ctx.isClosed || ctx.stream.destroyed) return
      if (log.enabled) log('%d %s takes route %d', ctx.id, ctx.remote, chosen)
      const { go } = compiled[chosen] ?? {}
      if (!go) throw noRoute(ctx, peek.bytes.length)
      await go(ctx, next)
    },
  )
}

/** The index of the first route that matches, or -1. */
async function choose(
  ctx: ConnectionContext & RouteContext,
  routes: readonly Compiled[],
  first: FirstBytes,
): Promise<number> {
  for (const [index, { condition, decides }] of routes.entries()) {
    let holds: boolean | undefined
    // This route has not checked the current bytes yet.
    first.isDue = true
    while ((holds = condition(first)) === undefined) await first.more()
    if (!holds) continue
    ctx.clientHello = first.hello() ?? null
    if (!decides || (await decides(ctx)) === true) return index
  }
  return -1
}

function compileRoute(route: Route): Compiled {
  if (typeof route !== 'object' || route === null) {
    throw optionError('route', 'routes', 'a list of routes', route)
  }
  checkOptionNames('route: a route', route, ['when', 'to', 'skipTls'])
  const { when = {}, to, skipTls = false } = route
  checkFlag('route', 'skipTls', skipTls)
  if (typeof when !== 'function') checkObject('route', 'when', when)
  return {
    condition: typeof when === 'function' ? () => true : compileConditions(when),
    decides: typeof when === 'function' ? when : undefined,
    go: compileTarget(to, skipTls),
  }
}

function compileTarget(to: RouteTarget, skipTls: boolean): Compiled['go'] {
  if (to === 'next') {
    return (ctx, next) => {
      if (skipTls) ctx.skipTls()
      return next()
    }
  }
  const rule = "'next', a middleware, a list of them or an app"
  if (typeof to === 'object' && to !== null && 'pipelines' in to) return through(to, skipTls)
  const all = (Array.isArray(to) ? to : [to]) as readonly Middleware<ConnectionContext>[]
  if (all.length === 0) throw optionError('route', 'to', rule, to)
  const app = new Cio()
  app.pipelines.connection.remove('secure')
  for (const one of all) {
    if (typeof one !== 'function') throw optionError('route', 'to', rule, one)
    app.useConnection(one)
  }
  return through(app, true)
}

function through(
  { pipelines }: { readonly pipelines: Pipelines },
  skipTls: boolean,
): Compiled['go'] {
  return async (ctx) => {
    if (skipTls) ctx.skipTls()
    const run = await pipelines.connection.compose()
    await run(ctx)
  }
}

function noRoute(ctx: ConnectionContext, size: number): CioError {
  const message = `no route matches ${ctx.remote} (${size} bytes inspected); add a last route without \`when\` to match all other connections`
  return new CioError('ERR_CIO_NO_ROUTE', message, {
    fault: 'remote',
    end: 'no_route',
    refusal: { step: 'route', why: 'no_route' },
  })
}

export { route as default }
