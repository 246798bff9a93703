/** A rate limit of connections over all instances. */

import { CioError, type ConnectionContext, type Middleware, type Rate, defineMiddleware } from 'cio'
import {
  atOnce,
  checkCount,
  checkDuration,
  checkOptionNames,
  checkRate,
  emitSafely,
  maxTimerDelay,
  optionError,
  quote,
} from 'cio/kit'
import { type Limiter, Store } from './limit/store.ts'

export type { Limiter } from './limit/store.ts'

/** Options of {@link sharedLimit}. */
export interface SharedLimitOptions<Needs extends ConnectionContext = ConnectionContext> {
  /** A limiter of `rate-limiter-flexible`, or an object with such a `consume`. */
  readonly limiter: Limiter
  /**
   * Returns the key to count: the address, or a verified name; null is not limited. A client may
   * have a whole /64 of IPv6 addresses: count those as one.
   */
  readonly key: (ctx: Needs) => string | null
  /**
   * The rate of a key on this instance while the store is down.
   *
   * @default `points` and `duration` of the limiter
   */
  readonly fallback?: Rate
  /**
   * Milliseconds to wait for the store.
   *
   * @default 250
   */
  readonly timeout?: number
  /**
   * Milliseconds to wait after a failure before the store is asked again.
   *
   * @default 1_000
   */
  readonly retryInterval?: number
  /**
   * Maximum keys that are remembered while the store is down; beyond it, Cio drops the least
   * recently used key.
   *
   * @default 10_000
   */
  readonly maxKeys?: number
  /**
   * The name of the middleware, for two of them in one app: by address, and by identity.
   *
   * @default 'sharedLimit'
   */
  readonly name?: string
}

declare module 'cio' {
  interface AppEvents {
    /** The store of a shared limit fails: each instance counts its own connections. */
    sharedLimitDown: [error: Error, name: string]
    /** The store of a shared limit answers again. */
    sharedLimitUp: [name: string]
  }
}

const known = ['limiter', 'key', 'fallback', 'timeout', 'retryInterval', 'maxKeys', 'name']

/**
 * A distributed rate limit for new connections, by address or by verified identity.
 *
 * All instances count in one store, by a limiter of the package `rate-limiter-flexible`: in memory,
 * in Redis, Valkey or another one that it supports. If the store fails or does not answer in time,
 * the instance counts its own connections with a token bucket, emits `sharedLimitDown`, and asks
 * the store again once in `retryInterval`. So a store that is down delays at most one connection in
 * that time.
 *
 * It does not replace `limit`, which limits the connections and handshakes of this process.
 *
 * @pipelines connection
 * @order before `secure` and after `limit` by address; after the lists by identity
 * @adds nothing
 * @rejects `ERR_CIO_REJECTED` (remote): it is over the limit; emits `reject`
 * @throws `ERR_CIO_OPTION`: an option is missing, unknown or out of its range
 *
 * @example
 * import { Cio } from 'cio'
 * import { type Limiter, sharedLimit } from '@cio/cluster'
 *
 * // In its place: new RateLimiterRedis({ storeClient, points: 5, duration: 1 })
 * const limiter: Limiter = { consume: async () => {}, points: 5, duration: 1 }
 * const app = new Cio().useConnection(sharedLimit({ limiter, key: ({ address }) => address }))
 * app.on('sharedLimitDown', (error) => console.warn(error.message))
 */
export function sharedLimit<Needs extends ConnectionContext = ConnectionContext>(
  options: SharedLimitOptions<Needs>,
): Middleware<Needs> {
  checkOptionNames('sharedLimit', options, known)
  const { limiter, key, timeout = 250, retryInterval = 1_000, maxKeys = 10_000 } = options
  const { name = 'sharedLimit', fallback = rateOf(limiter) } = options
  if (typeof (limiter as Partial<Limiter> | undefined)?.consume !== 'function') {
    throw optionError('sharedLimit', 'limiter', 'a limiter with `consume`', limiter)
  }
  if (typeof key !== 'function') throw optionError('sharedLimit', 'key', 'a function', key)
  checkRate('sharedLimit', 'fallback', fallback!)
  checkDuration('sharedLimit', 'timeout', timeout)
  checkDuration('sharedLimit', 'retryInterval', retryInterval)
  checkCount('sharedLimit', 'maxKeys', maxKeys, 1)
  if (timeout > maxTimerDelay) throw optionError('sharedLimit', 'timeout', 'finite', timeout)
  if (typeof name !== 'string' || name === '') {
    throw optionError('sharedLimit', 'name', 'a name', name)
  }
  const store = new Store({ limiter, fallback: fallback!, timeout, retryInterval, maxKeys })

  return defineMiddleware<Needs>(
    { name, pipelines: ['connection'] },
    async function sharedLimit(ctx, next) {
      const found = atOnce('sharedLimit', 'key', key(ctx))
      if (found !== null) {
        const { isWithin, failed, recovered } = await store.take(found)
        if (failed) emitSafely(ctx.app, 'sharedLimitDown', failed, name)
        if (recovered) emitSafely(ctx.app, 'sharedLimitUp', name)
        if (!isWithin) throw overError(ctx, name, found)
        // It may have closed meanwhile.
        if (ctx.isClosed) return
      }
      await next()
    },
  )
}

function rateOf(limiter: Limiter | undefined): Rate | undefined {
  const { points, duration } = limiter ?? {}
  if (typeof points !== 'number' || typeof duration !== 'number') return undefined
  return { count: points, per: duration * 1_000 }
}

function overError({ remote }: ConnectionContext, name: string, key: string): CioError {
  const message = `${remote} was rejected by \`${name}\`: too many connections of ${quote(key)}`
  const refusal = { step: name, why: 'shared_rate' }
  return new CioError('ERR_CIO_REJECTED', message, { fault: 'remote', end: 'over_limit', refusal })
}

export { sharedLimit as default }
