import debug from 'debug'
import { emitSafely } from '../src/lifecycle/app-events.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import type { Rate } from '../src/rates/token-bucket.ts'
import { networkOf } from './limit/address.ts'
import { checkedOptions } from './limit/checked-options.ts'
import { ConnectionLimiter, type Cap } from './limit/connection-limiter.ts'
import { HandshakeLimiter } from './limit/handshake-limiter.ts'
import { Queues } from './limit/queues.ts'

const log = debug('cio:limit')

/** Options of {@link limit}. */
export interface LimitOptions {
  /**
   * Connections that may be there at once. `Infinity` has no bound.
   *
   * @default 10_000
   */
  readonly connections?: number
  /**
   * Connections of one address that may be there at once, those that wait included. An IPv6 address
   * is its /64. `Infinity` has no bound.
   *
   * @default 1_000
   */
  readonly perAddress?: number
  /**
   * New connections: `count` of them in `per` milliseconds, all at once or spread over it.
   *
   * @default { count: Infinity, per: 1_000 }
   */
  readonly rate?: Rate
  /**
   * New connections of one address: `count` of them in `per` milliseconds.
   *
   * @default { count: Infinity, per: 1_000 }
   */
  readonly ratePerAddress?: Rate
  /**
   * TLS handshakes that may be under way at once; the others wait in the order in which they came.
   * `Infinity` has no bound.
   *
   * @default 50
   */
  readonly handshakes?: number
  /**
   * Milliseconds that a connection waits for its handshake to begin; `handshakeTimeout` begins after
   * it. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly handshakeWaitTimeout?: number
  /**
   * Milliseconds that a connection over `connections` or `rate` waits for its turn; 0 refuses it at
   * once, `Infinity` waits for ever. One that is over a bound by address never waits.
   *
   * @default 0
   */
  readonly waitTimeout?: number
  /**
   * Connections that may wait, in each of the two lines. `Infinity` has no bound.
   *
   * @default 10_000
   */
  readonly maxWaiting?: number
  /**
   * Addresses that `ratePerAddress` remembers; beyond them, those that were seen longest ago are
   * forgotten.
   *
   * @default 100_000
   */
  readonly maxAddresses?: number
  /**
   * Bytes that may wait to be sent, over all connections. Above it, those that would take longest
   * to read what waits for them are closed first. `Infinity` has no bound.
   *
   * @default 536_870_912
   */
  readonly queued?: number
}

/** The option of {@link limit} that a connection was over. */
export type LimitReason = Cap | 'handshakes' | 'queued'

/** A connection that was refused, or closed for `queued`, as the event `limit` tells it. */
export interface LimitRefusal {
  readonly reason: LimitReason
  /** What it was counted as: an IPv4 address, or the /64 of an IPv6 address; null where it has none. */
  readonly address: string | null
  /** Whether it had waited for its turn. */
  readonly waited: boolean
}

/** What {@link limit} counts. */
export interface LimitCounts {
  /** Connections that are there, without those that wait to be let in. */
  readonly connections: number
  /** Addresses that they come from. */
  readonly addresses: number
  /** Handshakes that are under way. */
  readonly handshakes: number
  /** Connections that wait to be let in. */
  readonly waiting: number
  /** Connections that wait for their handshake to begin. */
  readonly handshakesWaiting: number
  /** Bytes that waited to be sent over all connections, when that was last looked at. */
  readonly queued: number
  /** Connections that were refused, or closed for `queued`, so far, by reason. */
  readonly refused: Readonly<Record<LimitReason, number>>
}

/** The middleware, with its counts. */
export interface Limit extends Middleware<ConnectionContext> {
  readonly counts: LimitCounts
}

declare module '../src/lifecycle/app-events.ts' {
  interface AppEvents {
    /**
     * `limit` has refused a connection; `reject` tells of the same. Or it has closed one for
     * `queued`, of which `remoteError` tells.
     */
    limit: [refusal: LimitRefusal, ctx: ConnectionContext]
  }
}

/**
 * Bounds connections, their rate, handshakes under way, and bytes queued.
 *
 * What is over a bound is closed, or waits for its turn if `waitTimeout` says so. Handshakes always
 * wait: a thousand clients that come back at once are let in one after the other, and the
 * connections that live are served in between. A handshake whose peer is silent or slow does not
 * count while others wait for it.
 *
 * The address is `ctx.address`: behind a proxy that is trusted, the one that `proxyProtocol` was
 * told. Without it, all that come by one proxy are one address. What has none, such as a Unix
 * socket, is bounded in all and not by address. All servers whose app has the middleware share
 * its bounds.
 *
 * @pipelines connection
 * @order before `secure`, after `proxyProtocol`
 * @adds nothing to `ctx`; the middleware itself has `counts`
 * @rejects `ERR_CIO_REJECTED` (remote): it is over a bound, told by `reject`, and by `limit` with the
 *   reason; `ERR_CIO_SLOW_READER` (remote): more than `queued` waits in all, and it is the slowest
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
    const message = `${ctx.remote} was turned away by \`limit\`: ${inWords(refusal)}`
    log('%d %s', ctx.id, message)
    return new CioError('ERR_CIO_REJECTED', message, {
      fault: 'remote',
      end: 'over_limit',
      refusal: { step: 'limit', why: refusal.reason },
    })
  }

  const queues = new Queues(bounds.queued, (ctx, queued, total) => {
    note(ctx, { reason: 'queued', address: addressOf(ctx), waited: false })
    ctx.destroy(tooSlow(ctx, queued, total, bounds.queued))
  })

  const middleware = defineMiddleware<ConnectionContext>(
    { name: 'limit', after: 'proxyProtocol', before: 'secure' },
    async function limit(ctx, next) {
      // Now: it is forgotten with the socket.
      const address = addressOf(ctx)
      const entered = gate.enter(address ?? undefined, ctx.transport!)
      const verdict = await entered
      if (verdict === 'gone') return
      if (verdict !== 'in') {
        throw refuse(ctx, { reason: verdict, address, waited: entered instanceof Promise })
      }
      queues.enter(ctx)
      try {
        if (bounds.handshakes < Infinity && ctx.awaitsHandshake) {
          const turn = handshakes.enter(ctx)
          const ending = await turn
          if (ending === 'gone') return
          if (ending === 'late') {
            throw refuse(ctx, { reason: 'handshakes', address, waited: turn instanceof Promise })
          }
        }
        await next()
      } finally {
        handshakes.leave(ctx)
        queues.leave(ctx)
        gate.leave(address ?? undefined)
      }
    },
  )
  return Object.assign(middleware, {
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
  return address === null ? null : networkOf(address)
}

function tooSlow(ctx: ConnectionContext, queued: number, total: number, most: number): CioError {
  const message = `${ctx.remote} was closed by \`limit\`: ${total} bytes wait to be sent in all, more than the ${most} of \`queued\`, and it is the slowest, with ${queued} of them`
  return new CioError('ERR_CIO_SLOW_READER', message, { fault: 'remote' })
}

function inWords({ reason, address, waited }: LimitRefusal): string {
  const by = reason === 'perAddress' || reason === 'ratePerAddress' ? ` (${address})` : ''
  return `over \`${reason}\`${by}${waited ? ', and had waited for its turn' : ''}`
}

export { limit as default }
