import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer, createWebSocketStream } from 'ws'
import type { HandleOptions } from '../src/cio.ts'
import { CioError, isCioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkOptionNames, optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { type HttpHandler, contextOf, http, serverOf } from './http.ts'

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
}

/** A Cio app, or another object that handles streams. */
export interface HandlesStreams {
  handle(stream: Duplex, options?: HandleOptions): StreamContext
}

const defaultMaxPayload = 1024 * 1024

/**
 * WebSocket server: each client is a connection of an app.
 *
 * The message payloads are the bytes of `ctx.stream`. A received message is one chunk. A string
 * that you write becomes a text message, bytes become a binary message. Message boundaries have no
 * meaning: data that a codec sends in one turn of the event loop travels as one message. So both
 * sides need a codec, for example `lines`. You may pass the app on which this is registered: the
 * connection of a WebSocket then skips this middleware, and reaches the middleware after it.
 *
 * A WebSocket has no half-close: if one side ends, the connection is closed. `ctx.socket` and
 * `ctx.peer` are those of the underlying connection. `requestOf(ctx)` returns the upgrade request.
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
  const { handler = demandUpgrade, maxPayload = defaultMaxPayload, origins = isOwn } = options
  checkOptionNames('websocket', options, ['handler', 'maxPayload', 'origins'])
  checkCount('websocket', 'maxPayload', maxPayload, 1)
  const admits = typeof origins === 'function' ? origins : listed(origins)
  if (typeof app?.handle !== 'function') throw optionError('websocket', 'app', 'a Cio app', app)

  const server = serverOf(handler)
  const upgrader = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    // ws does not accept Infinity; its 0 means unlimited.
    maxPayload: maxPayload === Infinity ? 0 : maxPayload,
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // The HTTP server has released the socket, and ws has not yet added its error listener.
    socket.on('error', () => {})
    const { origin } = request.headers
    if (origin === undefined || admits(origin, request)) {
      upgrader.handleUpgrade(request, socket, head, (client) => connect(app, client, request))
    } else {
      socket.end(forbidden, () => socket.destroy())
    }
  })
  const serve = http(server)

  return defineMiddleware<StreamContext>(
    { name: 'websocket' },
    async function websocket(ctx, next) {
      // The middleware after this one may be for WebSockets alone.
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
const forbidden = 'HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'

function connect(app: HandlesStreams, client: WebSocket, request: IncomingMessage): void {
  const beneath = contextOf(request)
  const stream = streamOf(client, beneath?.remote ?? 'a client')
  byStream.set(stream, request)
  closeByCode(stream, client, () => ctx)
  const ctx = app.handle(stream, {
    ...(beneath?.socket && { socket: beneath.socket }),
    ...(beneath && { extend: { forwardedFor: beneath.forwardedFor } }),
  })
  byContext.set(ctx, request)
  if (!beneath) return
  const drain = (): void => void ctx.close({ timeout: Infinity })
  beneath.draining.addEventListener('abort', drain)
  if (beneath.isDraining) drain()
  void ctx.closed.then(() => beneath.draining.removeEventListener('abort', drain))
}

// RFC 6455, section 7.4.1.
const codes = { done: 1000, goingAway: 1001, refused: 1008, failed: 1011 }
/** Milliseconds to wait for the client's close frame after a connection was destroyed. */
const closeTimeout = 1_000

/** Closes a WebSocket with a code for the reason, instead of without a code (1005). */
function closeByCode(stream: Duplex, client: WebSocket, ctxOf: () => StreamContext): void {
  const final = stream._final.bind(stream)
  const destroy = stream._destroy.bind(stream)
  stream._final = (done) => {
    client.close(codeOf(ctxOf()))
    final(done)
  }
  stream._destroy = (error, done) => {
    if (client.readyState !== client.OPEN) return destroy(error, done)
    client.close(codeOf(ctxOf(), error))
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

/** The code of the error that ends a connection, or of its ordinary end. */
function codeOf({ signal, draining }: StreamContext, error?: Error | null): number {
  const reason: unknown = error ?? (signal.aborted ? signal.reason : undefined)
  if (reason === undefined || isCioError(reason, 'ERR_CIO_CLOSED')) {
    return draining.aborted ? codes.goingAway : codes.done
  }
  return isCioError(reason) && reason.fault === 'remote' ? codes.refused : codes.failed
}

function streamOf(client: WebSocket, remote: string): Duplex {
  const stream = createWebSocketStream(client, { allowHalfOpen: true, decodeStrings: false })
  const write = stream._write.bind(stream)
  stream._write = (chunk: string | Buffer, encoding, done) => {
    const isText = typeof chunk === 'string' && /^utf-?8$/i.test(encoding)
    write(isText ? chunk : Buffer.from(chunk as string, encoding), encoding, (cause) => {
      done(cause ? gone(remote, cause) : null)
    })
  }
  // These listeners destroy the stream with the error they receive: pass one with the right fault.
  for (const listener of client.listeners('error')) {
    client.off('error', listener as () => void)
    client.once('error', (cause) => listener.call(client, refusal(remote, cause)))
  }
  client.prependOnceListener('close', (code: number) => {
    if (code === closedAbnormally && !stream.destroyed) stream.destroy(refusal(remote))
  })
  return stream
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
