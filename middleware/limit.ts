import { debug } from '../src/debug.ts'
import { emitSafely } from '../src/lifecycle/app-events.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import type { Rate } from '../src/rates/token-bucket.ts'
import { keyOf } from './limit/address.ts'
import { checkedOptions } from './limit/checked-options.ts'
import { ConnectionLimiter, type Cap } from './limit/connection-limiter.ts'
import { HandshakeLimiter } from './limit/handshake-limiter.ts'
import { UnsentBytes } from './limit/unsent-bytes.ts'

const log = debug('cio:limit')

/** Options of {@link limit}. */
export interface LimitOptions {
  /**
   * Maximum number of connections at once. `Infinity` is unlimited.
   *
   * @default 10_000
   */
  readonly connections?: number
  /**
   * Maximum number of connections at once from one address, including waiting connections. An IPv6
   * address counts as its /64. `Infinity` is unlimited.
   *
   * @default 1_000
   */
  readonly perAddress?: number
  /**
   * Rate of new connections: `count` in `per` milliseconds, all at once or spread over that time.
   *
   * @default { count: Infinity, per: 1_000 }
   */
  readonly rate?: Rate
  /**
   * Rate of new connections from one address: `count` in `per` milliseconds.
   *
   * @default { count: Infinity, per: 1_000 }
   */
  readonly ratePerAddress?: Rate
  /**
   * Maximum number of TLS handshakes in progress; others wait in a queue, first come, first served.
   * `Infinity` is unlimited.
   *
   * @default 50
   */
  readonly handshakes?: number
  /**
   * Milliseconds that a connection may wait for its handshake to begin; `handshakeTimeout` starts
   * after it. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly handshakeWaitTimeout?: number
  /**
   * Milliseconds that a connection over `connections` or `rate` waits for its turn; 0 rejects it at
   * once, `Infinity` waits for ever. A connection over a limit by address never waits.
   *
   * @default 0
   */
  readonly waitTimeout?: number
  /**
   * Maximum number of waiting connections, in each of the two queues. `Infinity` is unlimited.
   *
   * @default 10_000
   */
  readonly maxWaiting?: number
  /**
   * Addresses that `ratePerAddress` remembers; beyond that number, Cio drops the least recently
   * seen.
   *
   * @default 100_000
   */
  readonly maxAddresses?: number
  /**
   * Maximum unsent bytes over all connections. Above it, Cio closes the slowest readers first: the
   * connections that would take longest to read their queue. `Infinity` is unlimited.
   *
   * @default 536_870_912
   */
  readonly queued?: number
}

/** The option of {@link limit} whose limit the connection exceeded. */
export type LimitReason = Cap | 'handshakes' | 'queued'

/** A connection that was rejected, or closed for `queued`, as in the event `limit`. */
export interface LimitRefusal {
  /** The option whose limit was reached. */
  readonly reason: LimitReason
  /**
   * The key under which it was counted: an IPv4 address, or the /64 of an IPv6 address. Null
   * without an address.
   */
  readonly address: string | null
  /** Whether it had waited for its turn. */
  readonly waited: boolean
}

/** What {@link limit} counts. */
export interface LimitCounts {
  /** Open connections, without waiting ones. */
  readonly connections: number
  /** Different addresses of these connections. */
  readonly addresses: number
  /** Handshakes in progress. */
  readonly handshakes: number
  /** Connections that wait for admission. */
  readonly waiting: number
  /** Connections that wait for their handshake to begin. */
  readonly handshakesWaiting: number
  /** Unsent bytes over all connections, at the last check. */
  readonly queued: number
  /** Connections rejected, or closed for `queued`, so far, by reason. */
  readonly refused: Readonly<Record<LimitReason, number>>
}

/** The middleware, with its counts. */
export interface Limit extends Middleware<ConnectionContext> {
  /** The current counts. */
  readonly counts: LimitCounts
  /** Its options, with the defaults filled in. */
  readonly bounds: Required<LimitOptions>
}

declare module '../src/lifecycle/app.ts' {
  interface AppEvents {
    /**
     * `limit` rejected a connection, which emits `reject` as well. Or it closed a connection for
     * `queued`, which emits `remoteError` as well.
     */
    limit: [refusal: LimitRefusal, ctx: ConnectionContext]
  }
}

/**
 * Rate limit and connection limit, in total and by address.
 *
 * Limits connections, their rate, TLS handshakes in progress, and unsent bytes. Cio closes a
 * connection over a limit, or lets it wait if `waitTimeout` is set. Handshakes always wait: if a
 * thousand clients reconnect at once, Cio admits one after the other and serves open connections in
 * between. A handshake with a silent or slow client does not count while others wait.
 *
 * The address is `ctx.address`. Behind a trusted proxy, it is the client address that
 * `proxyProtocol` read. Without `proxyProtocol`, all clients behind one proxy share one address. A
 * connection without an address, such as a Unix socket, counts towards the total only. All servers
 * whose app has the middleware share its limits.
 *
 * @pipelines connection
 * @order before `secure`, after `proxyProtocol`
 * @adds nothing to `ctx`; the middleware itself has `counts`
 * @rejects `ERR_CIO_REJECTED` (remote): it is over a limit; emits `reject`, and `limit` with the
 *   reason; `ERR_CIO_SLOW_READER` (remote): unsent bytes exceed `queued`, and it is the slowest
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 *
 * @example
 * import { Cio, limit } from 'cio'
 *
 * const bounds = limit({ connections: 5_000, ratePerAddress: { count: 20, per: 1_000 } })
 * const app = new Cio().useConnection(bounds)
 * app.on('limit', ({ reason, address }) => console.warn(`${address}: ${reason}`))
 * console.log(bounds.counts.refused.ratePerAddress) // 0
 */
export function limit(options: LimitOptions = {}): Limit {
  const bounds = checkedOptions(options)
  const gate = new ConnectionLimiter(bounds)
  const handshakes = new HandshakeLimiter(
    bounds.handshakes,
    bounds.maxWaiting,
    bounds.handshakeWaitTimeout,
  )
  const refused: Record<LimitReason, number> = {
    connections: 0,
    perAddress: 0,
    rate: 0,
    ratePerAddress: 0,
    handshakes: 0,
    queued: 0,
  }

  const note = (ctx: ConnectionContext, refusal: LimitRefusal): void => {
    refused[refusal.reason]++
    emitSafely(ctx.app, 'limit', refusal, ctx)
  }
  const refuse = (ctx: ConnectionContext, refusal: LimitRefusal): CioError<'ERR_CIO_REJECTED'> => {
    note(ctx, refusal)
    const message = `${ctx.remote} was rejected by \`limit\`: ${inWords(refusal)}`
    log('%d %s', ctx.id, message)
    return new CioError('ERR_CIO_REJECTED', message, {
      fault: 'remote',
      end: 'over_limit',
      refusal: { step: 'limit', why: refusal.reason },
    })
  }

  const queues = new UnsentBytes(bounds.queued, (ctx, queued, total) => {
    note(ctx, { reason: 'queued', address: addressOf(ctx), waited: false })
    ctx.destroy(tooSlow(ctx, queued, total, bounds.queued))
  })

  const middleware = defineMiddleware<ConnectionContext>(
    { name: 'limit', pipelines: ['connection'], after: 'proxyProtocol', before: 'secure' },
    async function limit(ctx, next) {
      // Read before any await: the socket loses its address when it closes.
      const address = addressOf(ctx)
      const entered = gate.enter(address ?? undefined, ctx.transport!)
      const verdict = entered instanceof Promise ? await entered : entered
      if (verdict === 'gone') return
      if (verdict !== 'in') {
        throw refuse(ctx, { reason: verdict, address, waited: entered instanceof Promise })
      }
      const queue = queues.enter(ctx)
      try {
        if (bounds.handshakes < Infinity && ctx.awaitsHandshake) {
          const turn = handshakes.enter(ctx)
          const ending = turn instanceof Promise ? await turn : turn
          if (ending === 'gone') return
          if (ending === 'late') {
            throw refuse(ctx, { reason: 'handshakes', address, waited: turn instanceof Promise })
          }
        }
        await next()
      } finally {
        handshakes.leave(ctx)
        queues.leave(queue)
        gate.leave(address ?? undefined)
      }
    },
  )
  return Object.assign(middleware, {
    bounds,
    counts: {
      get connections() {
        return gate.count
      },
      get addresses() {
        return gate.addresses
      },
      get handshakes() {
        return handshakes.count
      },
      get waiting() {
        return gate.waiting
      },
      get handshakesWaiting() {
        return handshakes.waiting
      },
      get queued() {
        return queues.total
      },
      get refused() {
        return { ...refused }
      },
    },
  })
}

function addressOf({ address }: ConnectionContext): string | null {
  return address === null ? null : keyOf(address)
}

function tooSlow(ctx: ConnectionContext, queued: number, total: number, most: number): CioError {
  const message = `${ctx.remote} was closed by \`limit\`: ${total} bytes are unsent over all connections, more than the limit of ${most} (\`queued\`), and this is the slowest reader, with ${queued} of them`
  return new CioError('ERR_CIO_SLOW_READER', message, { fault: 'remote' })
}

function inWords({ reason, address, waited }: LimitRefusal): string {
  const by = reason === 'perAddress' || reason === 'ratePerAddress' ? ` (${address})` : ''
  return `over \`${reason}\`${by}${waited ? ', and had waited for its turn' : ''}`
}

export { limit as default }
