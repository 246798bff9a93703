/** `ctx.mux`: opens streams. */

import type { Duplex } from 'node:stream'
import type { Cio } from '../../src/cio.ts'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { checkDuration, checkOptionNames, optionError } from '../../src/options.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { unawaited } from '../../src/lifecycle/unawaited.ts'
import { type StreamHeader, isHeaders } from './stream-header.ts'
import type { Session } from './session.ts'

/** The headers of a stream: strings by name. */
export type MuxHeaders = Readonly<Record<string, string>>

/** Options of `mux.ping()`. */
export interface PingOptions {
  /**
   * Milliseconds to wait for the reply; `Infinity` waits as long as the connection lasts.
   *
   * @default 10_000
   */
  readonly timeout?: number
}

/** The streams of one connection. */
export interface Mux {
  /** Number of open streams, of both sides. */
  readonly size: number
  /** Whether the peer accepts no new streams. */
  readonly isGoingAway: boolean

  /**
   * Opens a stream to the app on the other side. You may write to it at once; if the other side
   * refuses it, the stream fails with an error. Waits while `maxPending` others are not accepted
   * yet.
   *
   * @throws `ERR_CIO_TOO_MANY_STREAMS` (local): `maxStreams` are open
   * @throws `ERR_CIO_HEADERS_SIZE` (local): name and headers are longer than `maxHeadersSize`
   * @throws `ERR_CIO_GOING_AWAY` (remote): the other side accepts no new streams
   * @throws `ERR_CIO_CLOSING` (local), `ERR_CIO_CLOSED` (remote): the connection is closing, or
   *   closed
   * @throws `ERR_CIO_OPTION`: the name or a header is not a string
   */
  open(name: string, headers?: MuxHeaders): Promise<Duplex>

  /** Opens a stream that an app on this side handles. Throws as `open()` does. */
  handle<Connection extends object>(
    app: Pick<Cio<Connection>, 'handle'>,
    name: string,
    headers?: MuxHeaders,
  ): Promise<ConnectionContext & Connection>

  /**
   * Measures a round trip, in milliseconds. Pings do not queue behind stream data.
   *
   * @throws `ERR_CIO_PING_TIMEOUT` (remote): no reply came in time
   * @throws `ERR_CIO_CLOSED` (remote): the connection is closed
   * @throws `ERR_CIO_OPTION`: `timeout` is not a duration
   */
  ping(options?: PingOptions): Promise<number>

  /** Stops both sides from opening new streams; open streams continue. */
  goAway(): void
}

const defaultPingTimeout = 10_000

/** Runs an app on a stream. */
export type Run = <Connection extends object>(
  app: Pick<Cio<Connection>, 'handle'>,
  stream: Duplex,
  opening: StreamHeader,
) => ConnectionContext & Connection

/** The application's view of a session. */
export function muxOf(ctx: StreamContext, session: Session, run: Run): Mux {
  const open = async (name: string, headers: MuxHeaders = {}): Promise<Duplex> => {
    if (typeof name !== 'string') throw optionError('mux.open', 'name', 'a text', name)
    if (!isHeaders(headers)) throw optionError('mux.open', 'headers', 'an object of texts', headers)
    return session.open({ name, headers })
  }
  const handle: Mux['handle'] = async (app, name, headers = {}) =>
    run(app, await open(name, headers), { name, headers })
  const ping = async (options: PingOptions = {}): Promise<number> => {
    checkOptionNames('mux.ping', options, ['timeout'])
    const { timeout = defaultPingTimeout } = options
    checkDuration('mux.ping', 'timeout', timeout)
    return session.pings.ping(timeout)
  }
  return {
    get size() {
      return session.streams.size
    },
    get isGoingAway() {
      return session.peerIsLeaving
    },
    open: (name, headers) => unawaited(ctx, open(name, headers)),
    handle: (app, name, headers) => unawaited(ctx, handle(app, name, headers)),
    ping: (options) => unawaited(ctx, ping(options)),
    goAway: () => session.leave(),
  }
}
