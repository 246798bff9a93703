import { AsyncLocalStorage } from 'node:async_hooks'
import type { Duplex } from 'node:stream'
import type { Cio } from '../src/cio.ts'
import { carrierError } from '../src/lifecycle/carrier-end.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError, asError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import {
  checkCalled,
  checkCount,
  checkFlag,
  checkOptionNames,
  optionError,
} from '../src/options.ts'
import { provide } from '../src/lifecycle/provide.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { type Rate, checkRate } from '../src/rates/token-bucket.ts'
import { type Mux, type MuxHeaders, type PingOptions, muxOf } from './multiplex/mux.ts'
import type { Muxed, MuxedContext } from './multiplex/muxed.ts'
import { Session } from './multiplex/session.ts'
import { timesOf } from './multiplex/times.ts'
import { longestOpening } from './multiplex/stream-header.ts'
import { initialWindow, largest } from './multiplex/wire.ts'

export type { Mux, MuxHeaders, Muxed, MuxedContext, PingOptions }

const names = [
  'initiator',
  'maxStreams',
  'maxPending',
  'maxHeadersSize',
  'receiveWindow',
  'controlRate',
]

/** Options of {@link multiplex}. */
export interface MultiplexOptions {
  /**
   * Whether this side uses the odd stream numbers; exactly one of the two sides must. Set it if
   * both are server connections, for example with an in-memory pair.
   *
   * @default true of a client, false of a connection
   */
  readonly initiator?: boolean
  /**
   * Maximum number of open streams, for each side. Cio refuses further streams of the peer. A
   * stream counts until its handler has ended. `Infinity` is unlimited.
   *
   * @default 256
   */
  readonly maxStreams?: number
  /**
   * Maximum number of streams that were requested and not yet accepted, for each side. At this
   * number `open()` waits. `Infinity` is unlimited.
   *
   * @default 128
   */
  readonly maxPending?: number
  /**
   * Maximum bytes of a stream's name and headers, as JSON; at most 65_535.
   *
   * @default 16_384
   */
  readonly maxHeadersSize?: number
  /**
   * Maximum bytes that wait for the reader of a stream; then the peer must stop sending. At least
   * 262_144, the protocol's initial window. A connection may hold that many for each stream.
   *
   * @default 262_144
   */
  readonly receiveWindow?: number
  /**
   * Rate limit of pings, resets, excess streams and empty frames: `count` in `per` milliseconds.
   * Beyond it, Cio closes the connection. A `count` of `Infinity` is unlimited.
   *
   * @default { count: 1_000, per: 10_000 }
   */
  readonly controlRate?: Rate
}

/** What {@link multiplex} adds. */
export interface MultiplexContext {
  /** The streams of the connection. */
  mux: Mux
}

/**
 * Multiplexing: many yamux streams over one connection, each handled by an app.
 *
 * Both sides open streams with `ctx.mux.open()`; the app on the other side handles them. Each has
 * its own flow control, half-close and reset: a stream that nothing reads does not block the
 * others. Its context has `muxed` (name and headers), and the `socket` and verified `peer` of the
 * connection; `heartbeat()` in that app uses the pings of yamux. An `allowList` in that app needs TLS
 * of the connection, which `listen()` does not check.
 *
 * While draining, and when the middleware after it has returned, both sides open no more streams.
 * The open streams finish, and then the connection closes. If the connection is lost, all streams
 * fail with an error.
 *
 * The wire format is yamux. A stream begins with its name and headers: JSON after a two-byte
 * length. `multiplex` reads and writes `ctx.stream` until its end: no other code may read or write
 * it.
 *
 * @pipelines connection, client
 * @order last, or before what opens streams
 * @adds `ctx.mux`
 * @rejects `ERR_CIO_MULTIPLEX` (remote): the input violates the protocol; `ERR_CIO_FLOOD` (remote):
 *   more than `controlRate`, or unread replies. On a stream: `ERR_CIO_STREAM_RESET` (remote),
 *   `ERR_CIO_STREAM_REFUSED` (remote), `ERR_CIO_CLOSED` (remote): the connection is closed
 * @throws `ERR_CIO_OPTION`: `app` is not a Cio app, an option is unknown or out of its range
 * @see https://github.com/hashicorp/yamux/blob/master/spec.md
 *
 * @example
 * import { Cio, lines, multiplex, type MuxedContext } from 'cio'
 *
 * const shout = new Cio<MuxedContext>()
 *   .useConnection(lines())
 *   .useConnection((ctx) =>
 *     ctx.messages.each((line) => ctx.messages.send(`${ctx.muxed.name}: ${line.toUpperCase()}`)),
 *   )
 *
 * const app = new Cio().useConnection(multiplex(shout)).useClient(multiplex(shout))
 * const server = await app.listen(0)
 * const client = await app.connect(server.port)
 * const stream = await client.mux.open('greeting', { language: 'en' })
 * stream.end('hello\n')
 * for await (const chunk of stream) console.log(String(chunk)) // greeting: HELLO
 * await client.close()
 * await server.close()
 */
export function multiplex(
  app: Pick<Cio, 'handle'>,
  options: MultiplexOptions = {},
): Middleware<StreamContext, MultiplexContext> {
  checkCalled('multiplex', app)
  checkOptionNames('multiplex', options, names)
  const {
    maxStreams = 256,
    maxPending = 128,
    maxHeadersSize = 16_384,
    receiveWindow = initialWindow,
    controlRate = { count: 1_000, per: 10_000 },
  } = options
  const { initiator } = options
  if (typeof app?.handle !== 'function') throw optionError('multiplex', 'app', 'a Cio app', app)
  checkFlag('multiplex', 'initiator', initiator)
  checkCount('multiplex', 'maxStreams', maxStreams)
  checkCount('multiplex', 'maxPending', maxPending, 1)
  checkRange('maxHeadersSize', maxHeadersSize, 0, longestOpening)
  checkRange('receiveWindow', receiveWindow, initialWindow, largest)
  checkRate('multiplex', 'controlRate', controlRate)

  return defineMiddleware<StreamContext, MultiplexContext>(
    { name: 'multiplex', pipelines: ['connection', 'client'] },
    async function multiplex(ctx, next) {
      const runs = new Set<ConnectionContext>()
      const times = timesOf(ctx)
      const { flushTimeout } = times
      // Read now: Node loses the address when it destroys the socket.
      const { remote } = ctx
      let cutting: NodeJS.Timeout | undefined
      const run = <Connection extends object>(
        to: Pick<Cio<Connection>, 'handle'>,
        stream: Duplex,
        opening: Omit<Muxed, 'parent'>,
      ): ConnectionContext & Connection => {
        // A stream has the client address of its connection, also behind a proxy.
        const extend = {
          muxed: { ...opening, parent: ctx },
          forwardedFor: ctx.forwardedFor,
          ping: () => session.pings.share(),
        }
        const socket = ctx.socket ?? undefined
        const made = to.handle(stream, { extend, ...times, ...(socket && { socket }) })
        runs.add(made)
        void made.closed.then(() => {
          runs.delete(made)
          if (runs.size === 0) clearTimeout(cutting)
        })
        if (ctx.isDraining) void made.close({ timeout: Infinity })
        return made
      }
      // Socket events lose the AsyncLocalStorage context of the middleware outside; restore it.
      const inside = AsyncLocalStorage.snapshot()
      const session = new Session(ctx.stream, {
        initiator: initiator ?? ctx.kind === 'client',
        maxStreams,
        maxPending,
        maxHeadersSize,
        window: receiveWindow,
        controlRate,
        remote,
        accept: (stream, opening) => inside(run, app, stream, opening).closed,
        fail: (error) => ctx.destroy(error),
        carrierError: () => carrierError(ctx, remote),
        gone: (error, isOrderly) => {
          const cut = (): void => runs.forEach((one) => one.destroy(error))
          if (!isOrderly) cut()
          else if (runs.size > 0 && flushTimeout < Infinity) {
            cutting = setTimeout(cut, flushTimeout).unref()
          }
        },
      })
      // The listeners of `multiplex` are internal: none of them handles the end of input.
      ctx.stream = session.transport

      const leave = async (): Promise<void> => {
        session.leave()
        for (const one of runs) void one.close({ timeout: Infinity })
        await session.idle.wait()
        // The middleware after this one may wait for the end.
        session.end()
      }
      const drain = (): void => void leave()
      ctx.draining.addEventListener('abort', drain)
      if (ctx.isDraining) drain()
      await provide(ctx, 'mux', muxOf(ctx, session, run), async () => {
        try {
          await next()
          await leave()
        } catch (thrown) {
          session.lose(lost(ctx, asError(thrown)))
          throw thrown
        } finally {
          ctx.draining.removeEventListener('abort', drain)
          session.stop()
        }
      })
    },
  )
}

function lost({ remote }: StreamContext, cause: Error): CioError {
  const message = `the connection to ${remote}, which carries this stream, has failed`
  return new CioError('ERR_CIO_CLOSED', message, { cause })
}

function checkRange(option: string, value: unknown, least: number, most: number): void {
  if (Number.isInteger(value) && Number(value) >= least && Number(value) <= most) return
  throw optionError('multiplex', option, `a whole number from ${least} to ${most}`, value)
}

export { multiplex as default }
