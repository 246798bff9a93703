import { AsyncLocalStorage } from 'node:async_hooks'
import type { IncomingMessage, Server, ServerOptions, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/**
 * The request handler: a function such as Koa's `callback()`, an Express app, or an `http.Server`.
 */
export type HttpHandler = HttpListener | Server

type HttpListener = (request: IncomingMessage, response: ServerResponse) => unknown

/**
 * Options of {@link http}: those of Node's `http.createServer`, for a handler that is a function.
 */
export interface HttpOptions extends ServerOptions {}

/**
 * HTTP server on a connection, for Koa, Express or any `http` handler.
 *
 * Node's HTTP server handles the connection, and never listens itself. It handles keep-alive,
 * upgrades and pipelining, and its limits apply: `headersTimeout`, `requestTimeout`,
 * `maxHeaderSize`. `keepAliveTimeout` needs a socket; if `ctx.stream` is a layer, close idle
 * connections yourself. During a drain, `http` closes connections without a request, and adds
 * `Connection: close` to responses.
 *
 * `request.socket` is `ctx.stream`. Over TLS it has `getPeerCertificate()`, and Koa's `ctx.secure`
 * and Express's `req.secure` are true. `contextOf(request)` returns the context of the connection,
 * with its verified `peer`.
 *
 * If a handler function throws or rejects, the client gets a response with status 500, and the
 * connection ends. On your own server, event listeners behave as in Node.
 *
 * @pipelines connection
 * @order last: it reads and writes `ctx.stream` until its end
 * @adds nothing
 * @rejects `ERR_CIO_HTTP` (remote): the client sent something that is not HTTP, or took too long;
 *   any error that the handler throws, unchanged
 * @throws `ERR_CIO_OPTION`: the handler is neither a function nor an `http.Server`, or options are
 *   passed together with a server
 * @see RFC 9112
 *
 * @example
 * import Koa from 'koa'
 * import { Cio, contextOf, http } from 'cio'
 *
 * const koa = new Koa()
 * koa.use((ctx) => {
 *   ctx.body = `hello, ${contextOf(ctx.req)?.peer?.name ?? 'stranger'}\n`
 * })
 * const app = new Cio().useConnection(http(koa.callback()))
 * const server = await app.listen(0)
 * console.log(await (await fetch(`http://localhost:${server.port}/`)).text())
 * await server.close()
 */
export function http(handler: HttpHandler, options?: HttpOptions): Middleware<StreamContext> {
  const server = serverOf(handler, options)
  server.prependListener('request', begin)
  // Starts the timer for headersTimeout and requestTimeout, which otherwise starts when a server
  // listens.
  const check = server
    .listeners('listening')
    .find(({ name }) => name === 'setupConnectionsTracking')
  check?.call(server)

  return defineMiddleware<StreamContext>(
    { name: 'http', pipelines: ['connection'] },
    async function http(ctx, next) {
      // Node drops the address when the socket closes.
      const { stream, remote } = ctx
      const exchange: Exchange = {
        ctx,
        inside: AsyncLocalStorage.snapshot(),
        responses: new Set(),
        upgraded: false,
        failure: undefined,
      }
      exchanges.set(stream, exchange)
      watchUpgrades(server)
      const drain = (): void => closeWhenIdle(exchange)
      ctx.draining.addEventListener('abort', drain)
      server.emit('connection', stream)
      if (ctx.isDraining) drain()
      try {
        await next()
      } finally {
        ctx.draining.removeEventListener('abort', drain)
      }
      if (exchange.failure) throw exchange.failure.reason
      if (stream.errored && isInvalidRequest(stream.errored))
        throw invalidRequestError(remote, stream.errored)
    },
  )
}

/**
 * The context of the connection of a request; undefined if the request did not come through `http`.
 */
export function contextOf({ socket }: IncomingMessage): StreamContext | undefined {
  return exchanges.get(socket)?.ctx
}

/** The state of one connection. */
interface Exchange {
  readonly ctx: StreamContext
  /** Runs a function in the AsyncLocalStorage of the middleware outside. */
  readonly inside: ReturnType<typeof AsyncLocalStorage.snapshot>
  readonly responses: Set<ServerResponse>
  upgraded: boolean
  failure: { readonly reason: unknown } | undefined
}

const exchanges = new WeakMap<Duplex, Exchange>()

/**
 * Returns the handler if it is a server; otherwise creates a server for it.
 *
 * @internal
 */
export function serverOf(handler: HttpHandler, options?: HttpOptions): Server {
  const http = process.getBuiltinModule('node:http')
  const https = process.getBuiltinModule('node:https')
  if (typeof handler === 'function') return http.createServer(options ?? {}, catchErrors(handler))
  if (!(handler instanceof http.Server) || handler instanceof https.Server) {
    throw optionError('http', 'handler', 'a function or an http.Server', handler)
  }
  if (options)
    throw optionError('http', 'options', 'passed to the server that you created, not here', options)
  return handler
}

/** A handler that throws or rejects must not end the process. */
function catchErrors(handler: HttpListener): HttpListener {
  return (request, response) => {
    const fail = (reason: unknown): void => {
      const exchange = exchanges.get(request.socket)
      if (exchange) exchange.failure ??= { reason }
      if (response.headersSent) request.socket.destroy()
      else response.writeHead(500, { connection: 'close' }).end()
    }
    try {
      Promise.resolve(handler(request, response)).catch(fail)
    } catch (thrown) {
      fail(thrown)
    }
  }
}

function begin(request: IncomingMessage, response: ServerResponse): void {
  const exchange = exchanges.get(request.socket)
  if (!exchange) return
  exchange.responses.add(response)
  if (exchange.ctx.isDraining) response.setHeader('connection', 'close')
  response.once('close', () => {
    exchange.responses.delete(response)
    if (exchange.ctx.isDraining) closeWhenIdle(exchange)
  })
}

const watched = new WeakSet<Server>()

/**
 * An upgraded connection belongs to the `upgrade` listener, which runs in the AsyncLocalStorage around
 * `http`, as listeners for `request` do. Node emits it in that of the socket.
 */
function watchUpgrades(server: Server): void {
  if (watched.has(server)) return
  watched.add(server)
  const emit = server.emit.bind(server) as (...words: unknown[]) => boolean
  // No listener of Cio's: with one, Node would upgrade every request.
  server.emit = (...words: unknown[]): boolean => {
    const [event, , socket] = words
    const exchange = event === 'upgrade' ? exchanges.get(socket as Duplex) : undefined
    if (!exchange) return emit(...words)
    exchange.upgraded = true
    return exchange.inside(emit, ...words)
  }
}

/** Closes a connection after the responses in progress, or at once if there are none. */
function closeWhenIdle({ ctx, responses, upgraded }: Exchange): void {
  if (upgraded) return
  for (const response of responses) {
    if (!response.headersSent) response.setHeader('connection', 'close')
  }
  const { stream } = ctx
  // Destroys it as Node does: a request that arrives now must not be processed without a response.
  if (responses.size === 0 && !stream.destroyed) stream.end(() => stream.destroy())
}

function isInvalidRequest(error: NodeJS.ErrnoException): boolean {
  return /^(HPE_|ERR_HTTP_REQUEST_TIMEOUT)/.test(error.code ?? '')
}

function invalidRequestError(remote: string, cause: NodeJS.ErrnoException): CioError {
  const what =
    cause.code === 'ERR_HTTP_REQUEST_TIMEOUT'
      ? 'took too long to send a request'
      : 'sent an invalid HTTP request'
  return new CioError('ERR_CIO_HTTP', `http: ${remote} ${what} (${cause.code})`, {
    fault: 'remote',
    cause,
  })
}

export { http as default }
