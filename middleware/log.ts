import type { Writable } from 'node:stream'
import type { ClientContext } from '../src/client/client.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import {
  checkCount,
  checkDuration,
  checkFlag,
  checkOptionNames,
  optionError,
} from '../src/options.ts'
import { type Rate, checkRate } from '../src/rates/token-bucket.ts'
import type { ServerContext } from '../src/server/server.ts'
import type { AddressDetail, PeerDetail } from './log/attributes.ts'
import { ConnectionLog, type LogCounts } from './log/connection-log.ts'
import { type Logger, isLogger } from './log/sink.ts'

export type { LogCounts } from './log/connection-log.ts'
export type { Logger } from './log/sink.ts'

/** Options of {@link log}. */
export interface LogOptions {
  /**
   * A logger such as pino: its methods `info`, `warn` and `error` take a record and a message. Or a
   * stream, which gets lines of JSON.
   *
   * @default lines of JSON on standard output
   */
  readonly to?: Logger | Writable
  /**
   * The share of ordinary ends that get a line, from 0 to 1. Refusals and failures always get one.
   *
   * @default 1
   */
  readonly ordinary?: number
  /**
   * Writes lines also for connections that end without a byte (`nothing_said`): those of health
   * checks and port scanners, for example.
   *
   * @default false
   */
  readonly healthChecks?: boolean
  /**
   * An open connection gets a line each time this many milliseconds have passed. With `Infinity` it
   * gets a line only at its end.
   *
   * @default 3_600_000
   */
  readonly openInterval?: number
  /**
   * Maximum rate of lines for each reason. Cio counts further lines, and sums them up in one line.
   *
   * @default { count: 50, per: 10_000 }
   */
  readonly rate?: Rate
  /**
   * The part of a client's address that the lines show: address and port (`full`), the network (/24
   * of IPv4, /64 of IPv6, which may be one household), or nothing.
   *
   * @default 'full'
   */
  readonly address?: 'full' | 'network' | 'none'
  /**
   * The part of an identity that the lines show: the common name, the pin of its public key, or nothing.
   *
   * @default 'name'
   */
  readonly peer?: 'name' | 'spki' | 'none'
  /**
   * Bytes of lines that may wait for a slow reader; further lines are dropped and counted. Not used
   * with a logger, which has its own buffer.
   *
   * @default 1_048_576
   */
  readonly maxBuffer?: number
}

/** The middleware, with its counts. */
export interface Log extends Middleware<ServerContext | ClientContext> {
  /** The lines that were suppressed or dropped so far. */
  readonly counts: LogCounts
}

const defaultRate: Rate = { count: 50, per: 10_000 }
const defaultInterval = 3_600_000
const defaultBuffer = 1_048_576
const addresses: readonly unknown[] = ['full', 'network', 'none'] satisfies AddressDetail[]
const peers: readonly unknown[] = ['name', 'spki', 'none'] satisfies PeerDetail[]

/**
 * Access log: one line of JSON for each connection, at its end.
 *
 * A line contains how the connection ended, which side ended it, the innermost middleware, the
 * reason of a refusal, the duration, and the number of bytes. The names are OpenTelemetry's
 * attributes if it has one. A flood of connections does not cause a flood of lines: each reason has
 * a token bucket, and one line sums up the rest. Nothing that a client chooses can write an escape
 * sequence or a second line.
 *
 * On a server it logs the connections of that server. On a client it logs each connection, and each
 * failed attempt to connect.
 *
 * @pipelines server, client
 * @order before all others, so that it sees every attempt to connect
 * @adds nothing to `ctx`; the middleware itself has `counts`
 * @rejects `ERR_CIO_LOG` (local): the stream, or standard output, has failed, for example on a full
 *   disk; the connections go on
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 * @see [OpenTelemetry's attributes](https://opentelemetry.io/docs/specs/semconv/registry/attributes/)
 *
 * @example
 * import { Cio, log } from 'cio'
 *
 * const app = new Cio()
 *   .useServer(log({ address: 'network' }))
 *   .useConnection(async ({ stream }, next) => {
 *     stream.pipe(stream)
 *     await next()
 *   })
 * const server = await app.listen(0)
 * await server.close()
 */
export function log(options: LogOptions = {}): Log {
  checkOptionNames('log', options, [
    'to',
    'ordinary',
    'healthChecks',
    'openInterval',
    'rate',
    'address',
    'peer',
    'maxBuffer',
  ])
  const { to, ordinary = 1, healthChecks = false, openInterval = defaultInterval } = options
  const { rate = defaultRate, address = 'full', peer = 'name', maxBuffer = defaultBuffer } = options
  if (to !== undefined && !isLogger(to) && typeof to?.write !== 'function') {
    throw optionError('log', 'to', 'a logger with `info`, `warn` and `error`, or a stream', to)
  }
  if (typeof ordinary !== 'number' || !(ordinary >= 0 && ordinary <= 1)) {
    throw optionError('log', 'ordinary', 'a number from 0 to 1', ordinary)
  }
  checkFlag('log', 'healthChecks', healthChecks)
  checkDuration('log', 'openInterval', openInterval)
  if (openInterval === 0) throw optionError('log', 'openInterval', 'at least 1 ms', openInterval)
  checkRate('log', 'rate', rate)
  checkCount('log', 'maxBuffer', maxBuffer)
  if (!addresses.includes(address)) {
    throw optionError('log', 'address', "'full', 'network' or 'none'", address)
  }
  if (!peers.includes(peer)) throw optionError('log', 'peer', "'name', 'spki' or 'none'", peer)
  const lines = new ConnectionLog({
    to,
    ordinary,
    healthChecks,
    openInterval,
    rate,
    address,
    peer,
    maxBuffer,
  })

  const middleware = defineMiddleware<ServerContext | ClientContext>(
    { name: 'log', pipelines: ['server', 'client'], before: '*' },
    async function log(ctx, next) {
      const end = lines.begin(ctx)
      try {
        await next()
      } finally {
        end()
      }
    },
  )
  return Object.defineProperty(middleware, 'counts', { get: () => lines.counts }) as Log
}

export { log as default }
