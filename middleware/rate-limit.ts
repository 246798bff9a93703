import { debug } from '../src/debug.ts'
import { CioError } from '../src/errors.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkOptionNames, maxTimerDelay, optionError } from '../src/options.ts'
import { atOnce } from '../src/thenable.ts'
import { type Rate, TokenBucket, checkRate } from '../src/rates/token-bucket.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

const log = debug('cio:rateLimit')

/** Options of {@link rateLimit}. */
export interface RateLimitOptions<Needs extends StreamContext = StreamContext> {
  /**
   * Messages that may be received: `count` in `per` milliseconds, all at once or spread over that
   * time.
   */
  readonly rate: Rate
  /**
   * Returns a key, such as a verified name. All connections with one key share one rate; Cio does
   * not limit a connection with the key null. Called once for each connection.
   *
   * @default each connection has a rate of its own
   */
  readonly by?: (ctx: Needs) => string | null
  /**
   * What happens above the rate. `pause`: the next message and its sender wait. `close`: Cio closes
   * the connection.
   *
   * @default 'pause'
   */
  readonly over?: 'pause' | 'close'
  /**
   * Maximum number of keys of `by` that Cio remembers; beyond it, Cio drops the least recently used
   * key.
   *
   * @default 10_000
   */
  readonly maxKeys?: number
}

const defaultMaxKeys = 10_000

/**
 * Rate limit for received messages, by connection or by identity (token bucket).
 *
 * It counts messages when your code takes them. Above the rate, the next message waits, Cio stops
 * reading, and TCP slows down the sender. No message is lost, and the memory does not grow. With
 * `over: 'close'` the connection is closed instead.
 *
 * To limit connections and handshakes, use `limit`.
 *
 * @pipelines connection, client
 * @order after a codec and after `heartbeat`, before what reads `ctx.messages`; after `allowList`,
 *   if `by` uses `ctx.peer`
 * @adds nothing
 * @rejects `ERR_CIO_RATE` (remote): with `over: 'close'`, a message was above the rate
 * @throws `ERR_CIO_OPTION`: `rate` is missing, or an option is of the wrong kind
 *
 * @example
 * import { Cio, json, rateLimit } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(json())
 *   .useConnection(
 *     rateLimit({ rate: { count: 100, per: 1_000 }, by: (ctx) => ctx.peer?.name ?? null }),
 *   )
 *   .useConnection((ctx) => ctx.messages.each((message) => ctx.messages.send(message)))
 * const server = await app.listen(0)
 * await server.close()
 */
export function rateLimit<Needs extends StreamContext = StreamContext>(
  options: RateLimitOptions<Needs>,
): Middleware<Needs & MessagesContext<unknown, never>> {
  checkOptionNames('rateLimit', options, ['rate', 'by', 'over', 'maxKeys'])
  const { rate, by, over = 'pause', maxKeys = defaultMaxKeys } = options
  checkRate('rateLimit', 'rate', rate)
  checkCount('rateLimit', 'maxKeys', maxKeys, 1)
  if (by !== undefined && typeof by !== 'function') {
    throw optionError('rateLimit', 'by', 'a function', by)
  }
  if (over !== 'pause' && over !== 'close') {
    throw optionError('rateLimit', 'over', '`pause` or `close`', over)
  }
  const buckets = new Map<string, TokenBucket>()
  /** The bucket of a key, which becomes the most recently used. */
  const bucketOf = (key: string): TokenBucket => {
    const bucket = buckets.get(key) ?? new TokenBucket(rate)
    buckets.delete(key)
    buckets.set(key, bucket)
    if (buckets.size > maxKeys) buckets.delete(buckets.keys().next().value!)
    return bucket
  }

  return defineMiddleware<Needs & MessagesContext<unknown, never>>(
    { name: 'rateLimit', pipelines: ['connection', 'client'] },
    async function rateLimit(ctx, next) {
      const key = by && atOnce('rateLimit', 'by', by(ctx))
      if (key === null) return next()
      const own = new TokenBucket(rate)
      const received = (): void | Promise<boolean> => {
        const bucket = key === undefined ? own : bucketOf(key)
        if (bucket.take()) return
        if (over === 'close') throw close(ctx, rate)
        return turn(ctx, bucket)
      }
      const remove = ctx.messages.intercept({ received })
      try {
        await next()
      } finally {
        remove()
      }
    },
  )
}

/**
 * Waits for a token. If the run ends meanwhile, fulfils with true, so that the message is dropped.
 */
async function turn({ signal }: StreamContext, bucket: TokenBucket): Promise<boolean> {
  // The connections of one identity share the bucket, so another one may take the token first.
  while (!signal.aborted && !bucket.take()) {
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', done)
        resolve()
      }
      const timer = setTimeout(done, Math.min(Math.ceil(bucket.delay()), maxTimerDelay))
      signal.addEventListener('abort', done)
    })
  }
  return signal.aborted
}

function close(ctx: StreamContext, { count, per }: Rate): CioError {
  const message = `${ctx.remote} sent more than ${count} messages in ${per} ms`
  const error = new CioError('ERR_CIO_RATE', message, { fault: 'remote', end: 'over_limit' })
  log('%d %s', ctx.id, message)
  // A client may reconnect; a server connection cannot.
  if (ctx.kind === 'connection') ctx.destroy(error)
  else ctx.disconnect(error)
  return error
}

export { rateLimit as default }
