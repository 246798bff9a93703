import {
  type IncomingMessage,
  Server,
  type ServerOptions,
  type ServerResponse,
  createServer,
} from 'node:http'
import { Server as HttpsServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** What answers requests: a function as Koa's `callback()`, an Express app, or an `http.Server`. */
export type HttpHandler = HttpListener | Server

type HttpListener = (request: IncomingMessage, response: ServerResponse) => unknown

/** Options of {@link http}: those of Node's `http.createServer`, for a handler that is a function. */
export interface HttpOptions extends ServerOptions {}

/**
 * Answers HTTP requests on a connection, by Node's server, which never listens.
 *
 * Keep-alive, upgrades and pipelining are Node's, and so are its bounds: `headersTimeout`,
 * `requestTimeout`, `maxHeaderSize`. `keepAliveTimeout` needs a socket; where `ctx.stream` is a
 * layer, end idle connections yourself. While draining, connections without a request are closed,
 * and responses say `Connection: close`.
 *
 * `request.socket` is `ctx.stream`: over TLS it has `getPeerCertificate()`, and Koa's
 * `ctx.secure` and Express's `req.secure` are true. The connection's context, with its verified
 * `peer`, is `contextOf(request)`.
 *
 * What a function throws or rejects with is answered by 500 and ends the connection; what listens
 * to the events of a server of your own is as in Node.
 *
 * @pipelines connection
 * @order last: it reads and writes `ctx.stream` until its end
 * @adds nothing
 * @rejects `ERR_CIO_HTTP` (remote): what it sent is not HTTP, or took too long;
 *   what the handler threw, as it is
 * @throws `ERR_CIO_OPTION`: the handler is neither a function nor an `http.Server`, or options are
 *   given with a server
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
  // Starts the check of headersTimeout and requestTimeout, which else begins when a server listens.
  const check = server
    .listeners('listening')
    .find(({ name }) => name === 'setupConnectionsTracking')
  check?.call(server)

  return defineMiddleware<StreamContext>({ name: 'http' }, async function http(ctx, next) {
    // Node forgets the address with the socket.
    const { stream, remote } = ctx
    const exchange: Exchange = { ctx, responses: new Set(), upgraded: false, failure: undefined }
    exchanges.set(stream, exchange)
    watchUpgrades(server)
    const drain = (): void => wind(exchange)
    ctx.draining.addEventListener('abort', drain)
    server.emit('connection', stream)
    if (ctx.isDraining) drain()
    try {
      await next()
    } finally {
      ctx.draining.removeEventListener('abort', drain)
    }
    if (exchange.failure) throw exchange.failure.reason
    if (stream.errored && isRefusal(stream.errored)) throw notHttp(remote, stream.errored)
  })
}

/** The context of the connection that a request came by; undefined if it did not come by `http`. */
export function contextOf({ socket }: IncomingMessage): StreamContext | undefined {
  return exchanges.get(socket)?.ctx
}

/** What goes on on one connection. */
interface Exchange {
  readonly ctx: StreamContext
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
  if (typeof handler === 'function') return createServer(options ?? {}, guard(handler))
  if (!(handler instanceof Server) || handler instanceof HttpsServer) {
    throw optionError('http', 'handler', 'a function or an http.Server', handler)
  }
  if (options) throw optionError('http', 'options', 'given to the server itself', options)
  return handler
}

/** A function that throws must end the process in neither of the two ways. */
function guard(handler: HttpListener): HttpListener {
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
    if (exchange.ctx.isDraining) wind(exchange)
  })
}

const watched = new WeakSet<Server>()

/** Whoever upgrades a connection has it from there on. A listener of ours alone would upgrade all. */
function watchUpgrades(server: Server): void {
  if (watched.has(server) || server.listenerCount('upgrade') === 0) return
  watched.add(server)
  server.prependListener('upgrade', ({ socket }) => {
    const exchange = exchanges.get(socket)
    if (exchange) exchange.upgraded = true
  })
}

/** Winds a connection down: after the responses under way, or at once. */
function wind({ ctx, responses, upgraded }: Exchange): void {
  if (upgraded) return
  for (const response of responses) {
    if (!response.headersSent) response.setHeader('connection', 'close')
  }
  const { stream } = ctx
  // As Node does: a request that crosses the end must not be carried out and left unanswered.
  if (responses.size === 0 && !stream.destroyed) stream.end(() => stream.destroy())
}

function isRefusal(error: NodeJS.ErrnoException): boolean {
  return /^(HPE_|ERR_HTTP_REQUEST_TIMEOUT)/.test(error.code ?? '')
}

function notHttp(remote: string, cause: NodeJS.ErrnoException): CioError {
  const what = cause.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 'took too long' : 'is not HTTP'
  return new CioError('ERR_CIO_HTTP', `what ${remote} sent ${what} (${cause.code})`, {
    fault: 'remote',
    cause,
  })
}

export { http as default }
