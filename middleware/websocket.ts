import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer, createWebSocketStream } from 'ws'
import type { HandleOptions } from '../src/cio.ts'
import { CioError, asError, isCioError } from '../src/errors.ts'
import { reportError } from '../src/lifecycle/app-events.ts'
import { carrierError } from '../src/lifecycle/carrier-end.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import {
  checkCalled,
  checkCount,
  checkFlag,
  checkOptionNames,
  optionError,
} from '../src/options.ts'
import { atOnce } from '../src/thenable.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { Borders } from '../src/streams/borders.ts'
import { afterResponse } from './websocket/upgrade-order.ts'
import { pingsOf } from './websocket/pings.ts'
import { type HttpHandler, contextOf, http, serverOf } from './http.ts'
import {
  checkedSubprotocols,
  chooseSubprotocol,
  codecBySubprotocol,
} from './websocket/subprotocols.ts'

export { wholeMessages, type WholeMessagesContext } from './websocket/whole-messages.ts'

/** Decides whether a page with this `Origin` may connect. */
export type OriginPredicate = (origin: string, request: IncomingMessage) => boolean

/** Options of {@link websocket}. */
export interface WebsocketOptions {
  /**
   * Handles requests that are not WebSocket upgrades: Koa's `callback()`, an Express app, or an
   * `http.Server` without a listener for `upgrade`.
   *
   * @default answers 426 Upgrade Required
   */
  readonly handler?: HttpHandler
  /**
   * Maximum bytes of a message; `Infinity` is unlimited.
   *
   * @default 1_048_576
   */
  readonly maxPayload?: number
  /**
   * The origins whose pages may connect, such as `https://example.com`, or a function that decides.
   * Clients that send no `Origin` are not browsers, and Cio accepts them.
   *
   * @default the host of the request itself
   */
  readonly origins?: readonly string[] | OriginPredicate
  /**
   * The subprotocols of this server. Cio takes the client's first subprotocol that is listed here.
   * If a client asks only for others, Cio answers 400.
   *
   * @default []
   */
  readonly subprotocols?: readonly string[]
  /**
   * Keeps message borders, for codecs that need no framing on a WebSocket. With `false`, every
   * codec writes and reads a stream of bytes, and the borders of WebSocket messages mean nothing.
   *
   * @default true
   */
  readonly borders?: boolean
}

/** A Cio app, or another object that handles streams. */
export interface HandlesStreams {
  /** Runs a connection over a stream, as `app.handle()` does. */
  handle(stream: Duplex, options?: HandleOptions): StreamContext
}

const defaultMaxPayload = 1024 * 1024
const known = ['handler', 'maxPayload', 'origins', 'subprotocols', 'borders']

/**
 * WebSocket server: each client is a connection of an app.
 *
 * Each WebSocket message is one of `ctx.messages`, without framing: `json` sends text without line
 * feeds, `msgpack`, `cbor`, `protobuf` and `codec` send their bytes, `lines` sends text, and
 * `wholeMessages` needs no codec. All other codecs, and layers, use the payloads as a stream of
 * bytes. A string that you write to `ctx.stream` becomes a text message, bytes become a binary
 * message. You may pass the app on which this is registered: the connection of a WebSocket then
 * skips this middleware, and reaches the middleware after it.
 *
 * A WebSocket has no half-close: if one side ends, the connection is closed. `ctx.socket` and
 * `ctx.peer` are those of the underlying connection. `requestOf(ctx)` returns the upgrade request.
 * `ctx.ping()` sends a ping and fulfils with the pong; `heartbeat()` without a `ping` uses it.
 *
 * @pipelines connection
 * @order last, or before middleware for WebSockets alone
 * @adds nothing
 * @rejects on the WebSocket's connection: `ERR_CIO_WEBSOCKET` (remote): a frame is invalid or
 *   longer than `maxPayload`, or there was no close frame; on the underlying one: see `http`
 * @throws `ERR_CIO_OPTION`: an option is of the wrong kind or out of its range
 * @see RFC 6455
 *
 * @example
 * import { Cio, lines } from 'cio'
 * import { websocket } from 'cio/websocket'
 *
 * const shout = new Cio()
 *   .useConnection(lines())
 *   .useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))
 *
 * const app = new Cio().useConnection(websocket(shout))
 * const server = await app.listen(0)
 * await server.close()
 */
export function websocket(
  app: HandlesStreams,
  options: WebsocketOptions = {},
): Middleware<StreamContext> {
  checkCalled('websocket', app)
  checkOptionNames('websocket', options, known)
  const { handler = demandUpgrade, maxPayload = defaultMaxPayload, origins = isOwn } = options
  const { borders = true } = options
  const subprotocols = checkedSubprotocols(options.subprotocols ?? [])
  checkFlag('websocket', 'borders', borders)
  checkCount('websocket', 'maxPayload', maxPayload, 1)
  const admits = typeof origins === 'function' ? origins : listed(origins)
  if (typeof app?.handle !== 'function') throw optionError('websocket', 'app', 'a Cio app', app)

  const server = serverOf(handler)
  const upgrader = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    // ws does not accept Infinity; its 0 means unlimited.
    maxPayload: maxPayload === Infinity ? 0 : maxPayload,
    handleProtocols: (_names, request) => chooseSubprotocol(request, subprotocols) ?? false,
  })
  const upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const { origin } = request.headers
    const refuse = (status: string): void => {
      const head = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`
      socket.end(head, () => socket.destroy())
    }
    if (origin !== undefined) {
      try {
        if (!atOnce('websocket', 'origins', admits(origin, request))) return refuse('403 Forbidden')
      } catch (thrown) {
        const beneath = contextOf(request)
        if (beneath) reportError(beneath.app, asError(thrown), beneath)
        return refuse('500 Internal Server Error')
      }
    }
    if (chooseSubprotocol(request, subprotocols) === null) return refuse('400 Bad Request')
    upgrader.handleUpgrade(request, socket, head, (client) => {
      connect(app, client, request, socket, borders)
    })
  }
  server.on('upgrade', afterResponse(server, upgrade))
  const serve = http(server)

  return defineMiddleware<StreamContext>(
    { name: 'websocket', pipelines: ['connection'] },
    async function websocket(ctx, next) {
      // The middleware after this one may be for WebSockets only.
      await (requestOf(ctx) ? next() : serve(ctx, () => closed(ctx.stream)))
    },
  )
}

function closed(stream: Duplex): Promise<void> {
  return new Promise((resolve) => {
    if (stream.closed) resolve()
    else stream.once('close', resolve)
  })
}

/** The upgrade request of a WebSocket's connection; undefined for any other connection. */
export function requestOf(ctx: StreamContext): IncomingMessage | undefined {
  return byContext.get(ctx) ?? byStream.get(ctx.stream)
}

const byContext = new WeakMap<StreamContext, IncomingMessage>()
// A pipeline starts before handle() has returned its context.
const byStream = new WeakMap<Duplex, IncomingMessage>()
const subprotocolByRequest = new WeakMap<IncomingMessage, string>()

/** The subprotocol of a WebSocket's connection; undefined if the client asked for none. */
export function subprotocolOf(ctx: StreamContext): string | undefined {
  const request = requestOf(ctx)
  return request && subprotocolByRequest.get(request)
}

/**
 * The codec by the subprotocol that `websocket` has chosen, as the first middleware of its app.
 *
 * Cio closes a client that asked for no subprotocol, unless there is a codec with the name `''`.
 *
 * @throws `ERR_CIO_OPTION`: a name is no token, or a codec is no middleware; in the connection,
 *   `ERR_CIO_WEBSOCKET` (remote): there is no codec for its subprotocol
 *
 * @example
 * import { Cio, json } from 'cio'
 * import { msgpack } from 'cio/msgpack'
 * import { bySubprotocol, websocket } from 'cio/websocket'
 *
 * const codecs = { 'v1.json': json(), 'v1.msgpack': msgpack() }
 * const echo = new Cio()
 *   .useConnection(bySubprotocol(codecs))
 *   .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
 * const app = new Cio().useConnection(websocket(echo, { subprotocols: Object.keys(codecs) }))
 */
export function bySubprotocol<Adds extends object>(
  codecs: Readonly<Record<string, Middleware<StreamContext, Adds>>>,
): Middleware<StreamContext, Adds> {
  return codecBySubprotocol(codecs, subprotocolOf)
}

function connect(
  app: HandlesStreams,
  client: WebSocket,
  request: IncomingMessage,
  socket: Duplex & { readonly bytesRead?: number },
  hasBorders: boolean,
): void {
  const beneath = contextOf(request)
  const remote = beneath?.remote ?? 'a client'
  const stream = streamOf(client, remote, beneath)
  if (hasBorders) keepBorders(stream, client)
  // For `timeout` and `heartbeat`: the stream itself counts only whole messages.
  Object.defineProperty(stream, 'bytesRead', { get: () => socket.bytesRead })
  byStream.set(stream, request)
  if (client.protocol !== '') subprotocolByRequest.set(request, client.protocol)
  // Its first middleware may end the stream before handle() has returned.
  let ctx: StreamContext | undefined = undefined
  closeByCode(stream, client, () => ctx)
  ctx = app.handle(stream, {
    ...(beneath?.socket && { socket: beneath.socket }),
    extend: {
      ping: pingsOf(client, remote),
      ...(beneath && { forwardedFor: beneath.forwardedFor }),
    },
  })
  byContext.set(ctx, request)
  if (!beneath) return
  const drain = (): void => void ctx.close({ timeout: Infinity })
  beneath.draining.addEventListener('abort', drain)
  if (beneath.isDraining) drain()
  void ctx.closed.then(() => beneath.draining.removeEventListener('abort', drain))
}

// RFC 6455, section 7.4.1.
const codes = { done: 1000, goingAway: 1001, refused: 1008, tooLong: 1009, failed: 1011 }
/** Milliseconds to wait for the client's close frame after a connection was destroyed. */
const closeTimeout = 1_000

/** Closes a WebSocket with a code for the reason, instead of without a code (1005). */
function closeByCode(
  stream: Duplex,
  client: WebSocket,
  ctxOf: () => StreamContext | undefined,
): void {
  const final = stream._final.bind(stream)
  const destroy = stream._destroy.bind(stream)
  const withContext = (call: (ctx: StreamContext | undefined) => void): void => {
    const ctx = ctxOf()
    if (ctx) call(ctx)
    else queueMicrotask(() => call(ctxOf()))
  }
  stream._final = (done) =>
    withContext((ctx) => {
      client.close(codeOf(ctx, undefined, codes.done))
      final(done)
    })
  stream._destroy = (error, done) => {
    if (client.readyState !== client.OPEN) return destroy(error, done)
    // Without an end before it, the sent data is incomplete.
    withContext((ctx) => client.close(codeOf(ctx, error, codes.failed)))
    // ws would terminate here, and the client might never read the close frame.
    const timer = setTimeout(() => client.terminate(), closeTimeout)
    client.once('close', () => {
      clearTimeout(timer)
      destroy(error, done)
    })
    // The client's close frame comes after messages that have no reader any more.
    client.removeAllListeners('message').resume()
  }
}

/** The code of the error that ends a connection, or `unknown` if there is none. */
function codeOf(
  ctx: StreamContext | undefined,
  error: Error | null | undefined,
  unknown: number,
): number {
  const reason: unknown = error ?? (ctx?.signal.aborted ? ctx.signal.reason : undefined)
  if (reason === undefined || isCioError(reason, 'ERR_CIO_CLOSED')) {
    return ctx?.draining.aborted ? codes.goingAway : unknown
  }
  if (isCioError(reason, 'ERR_CIO_MESSAGE_TOO_LONG')) return codes.tooLong
  return isCioError(reason) && reason.fault === 'remote' ? codes.refused : codes.failed
}

function streamOf(client: WebSocket, remote: string, beneath: StreamContext | undefined): Duplex {
  const stream = createWebSocketStream(client, { allowHalfOpen: true, decodeStrings: false })
  const write = stream._write.bind(stream)
  stream._write = (chunk: string | Buffer, encoding, done) => {
    // By its name first: a pattern for each message costs more than the rest of this function.
    const isReady = typeof chunk !== 'string' || encoding === 'utf8' || /^utf-?8$/i.test(encoding)
    write(isReady ? chunk : Buffer.from(chunk, encoding), encoding, (cause) => {
      done(cause ? gone(remote, cause) : null)
    })
  }
  // ws's listeners destroy the stream with the error that they receive: pass an error with the
  // right fault.
  for (const listener of client.listeners('error')) {
    client.off('error', listener as () => void)
    client.once('error', (cause) => listener.call(client, refusal(remote, cause)))
  }
  client.prependOnceListener('close', (code: number) => {
    if (code !== closedAbnormally || stream.destroyed) return
    const error = beneath && carrierError(beneath, remote)
    // Without an error of the carrier, that there was no close frame says more.
    stream.destroy(error && (error.cause || error.fault === 'local') ? error : refusal(remote))
  })
  return stream
}

/** Notes the borders of the messages before ws puts them into the stream. */
function keepBorders(stream: Duplex, client: WebSocket): void {
  const borders = new Borders(stream)
  client.prependListener('message', (data: Buffer, isBinary: boolean) => {
    borders.add(data.length, !isBinary)
  })
}

// RFC 6455, section 7.1.5: no close frame arrived.
const closedAbnormally = 1006

function refusal(remote: string, cause?: Error): CioError {
  const what = cause
    ? `sent an invalid frame: ${cause.message}`
    : 'closed the connection without a close frame'
  return new CioError('ERR_CIO_WEBSOCKET', `${remote} ${what}`, { fault: 'remote', cause })
}

function gone(remote: string, cause: Error): CioError {
  const message = `the WebSocket of ${remote} is closed`
  return new CioError('ERR_CIO_CLOSED', message, { fault: 'remote', cause })
}

function demandUpgrade(_request: IncomingMessage, response: ServerResponse): void {
  response.writeHead(426, { connection: 'Upgrade, close', upgrade: 'websocket' }).end()
}

/** Whether a page was loaded from the host that it connects to. */
function isOwn(origin: string, { headers: { host = '' } }: IncomingMessage): boolean {
  if (!URL.canParse(origin) || notHost.test(host)) return false
  const page = new URL(origin)
  // With the page's own protocol: an origin omits its default port, and `Host` does not always.
  const asked = `${page.protocol}//${host}`
  return URL.canParse(asked) && new URL(asked).host === page.host
}

// Characters that would change the URL beyond host and port.
const notHost = /[/?#@\\\s]|^$/

function listed(origins: unknown): OriginPredicate {
  const isList = Array.isArray(origins) && origins.every((one) => typeof one === 'string')
  if (!isList) throw optionError('websocket', 'origins', 'a list of origins or a function', origins)
  const wanted = new Set(origins.map(canonicalOrigin))
  return (origin) => wanted.has(canonicalOrigin(origin))
}

/** The form that browsers send: without the default port, in lower case and ASCII. */
function canonicalOrigin(origin: string): string {
  // An opaque origin (`null`, an extension's) stays as it is.
  const known = URL.canParse(origin) ? new URL(origin).origin : 'null'
  return known === 'null' ? origin.toLowerCase() : known
}

export { websocket as default }
