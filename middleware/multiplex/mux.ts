/** `ctx.mux`: what opens streams. */

import type { Duplex } from 'node:stream'
import type { Cio } from '../../src/cio.ts'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { checkDuration, optionError } from '../../src/options.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { unawaited } from '../../src/lifecycle/unawaited.ts'
import { type StreamHeader, isHeaders } from './stream-header.ts'
import type { Session } from './session.ts'

/** The headers of a stream: texts by names. */
export type MuxHeaders = Readonly<Record<string, string>>

/** Options of `mux.ping()`. */
export interface PingOptions {
  /**
   * Milliseconds to wait for the answer; `Infinity` waits for as long as there is a connection.
   *
   * @default 10_000
   */
  readonly timeout?: number
}

/** The streams of one connection. */
export interface Mux {
  /** Streams that are open, of both sides. */
  readonly size: number
  /** Whether the peer takes no new streams. */
  readonly isGoingAway: boolean

  /**
   * Opens a stream to the app of the other side. It may be written to at once; that the other side
   * has refused it is an error of the stream. Waits while `maxPending` others are not taken.
   *
   * @throws `ERR_CIO_TOO_MANY_STREAMS` (local): `maxStreams` are open
   * @throws `ERR_CIO_HEADERS_SIZE` (local): name and headers are longer than `maxHeadersSize`
   * @throws `ERR_CIO_GOING_AWAY` (remote): the other side takes no new streams
   * @throws `ERR_CIO_CLOSING` (local), `ERR_CIO_CLOSED` (remote): the connection is ending, or gone
   * @throws `ERR_CIO_OPTION`: the name is no text, or a header is none
   */
  open(name: string, headers?: MuxHeaders): Promise<Duplex>

  /** Opens a stream, and makes it a connection of an app at this side too. Throws as `open()`. */
  handle<Connection extends object>(
    app: Pick<Cio<Connection>, 'handle'>,
    name: string,
    headers?: MuxHeaders,
  ): Promise<ConnectionContext & Connection>

  /**
   * Milliseconds of a round trip, which waits behind no stream.
   *
   * @throws `ERR_CIO_PING_TIMEOUT` (remote): no answer came in time
   * @throws `ERR_CIO_CLOSED` (remote): the connection is gone
   * @throws `ERR_CIO_OPTION`: `timeout` is not a duration
   */
  ping(options?: PingOptions): Promise<number>

  /** Tells the other side to open no more streams, and opens none; those that are open go on. */
  goAway(): void
}

const defaultPingTimeout = 10_000

/** Makes a stream a connection of an app. */
export type Run = <Connection extends object>(
  app: Pick<Cio<Connection>, 'handle'>,
  stream: Duplex,
  opening: StreamHeader,
) => ConnectionContext & Connection

/** The streams of a session, for the application. */
export function muxOf(ctx: StreamContext, session: Session, run: Run): Mux {
  const open = async (name: string, headers: MuxHeaders = {}): Promise<Duplex> => {
    if (typeof name !== 'string') throw optionError('mux.open', 'name', 'a text', name)
    if (!isHeaders(headers)) throw optionError('mux.open', 'headers', 'an object of texts', headers)
    return session.open({ name, headers })
  }
  const handle: Mux['handle'] = async (app, name, headers = {}) =>
    run(app, await open(name, headers), { name, headers })
  const ping = async ({ timeout = defaultPingTimeout }: PingOptions = {}): Promise<number> => {
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
