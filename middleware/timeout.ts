import debug from 'debug'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { evict } from '../src/lifecycle/evict.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, maxTimerDelay, optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { meter } from './timeout/traffic.ts'
import { type Bounds, Deadlines } from './timeout/deadlines.ts'

const log = debug('cio:timeout')

/** Options of {@link timeout}. */
export interface TimeoutOptions {
  /**
   * Milliseconds for the TLS handshake; the `handshakeTimeout` of `listen()` and `connect()` holds as
   * well. `Infinity` leaves it to that.
   *
   * @default 10_000
   */
  readonly handshake?: number
  /**
   * Milliseconds until the peer's first byte, after the handshake if there is one. `Infinity` waits
   * for ever.
   *
   * @default 10_000 on a connection, Infinity on a client
   */
  readonly firstByte?: number
  /**
   * Milliseconds in which nothing passes in either direction. `Infinity` waits for ever.
   *
   * @default 60_000
   */
  readonly idle?: number
  /**
   * Milliseconds in which something waits to be sent and the peer takes nothing of it. `Infinity`
   * waits for ever.
   *
   * @default 30_000
   */
  readonly write?: number
  /**
   * Milliseconds that the whole connection may last; then it is asked to finish.
   *
   * @default Infinity
   */
  readonly lifetime?: number
  /**
   * Milliseconds to finish in after `lifetime`; then it is destroyed. `Infinity` waits for ever.
   *
   * @default 15_000
   */
  readonly drainTimeout?: number
}

/**
 * Ends connections that are silent, stuck or too old.
 *
 * Costs nothing per chunk: a timer of each connection compares the counters that its socket keeps.
 * So what is over a bound is found a quarter of it late, at most.
 *
 * Bytes count, not messages, and those that the network has taken: a peer that sends one byte a
 * minute is not idle, and one that takes one is not stuck. What bounds those is `lifetime`. A
 * connection that is too old is asked to finish by `ctx.draining`; all others are cut.
 *
 * @pipelines connection, client
 * @order before `secure`, to watch the handshake too; after `limit`, where one may have to wait
 * @adds nothing
 * @rejects `ERR_CIO_HANDSHAKE_TIMEOUT`, `ERR_CIO_FIRST_BYTE`, `ERR_CIO_IDLE`,
 *   `ERR_CIO_WRITE_TIMEOUT`, `ERR_CIO_LIFETIME` (remote): that bound was overstepped
 * @throws `ERR_CIO_OPTION`: an option is not a duration, or 0
 *
 * @example
 * import { Cio, timeout } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(timeout({ idle: 5 * 60_000, lifetime: 24 * 60 * 60_000 }))
 *   .useConnection(async ({ stream }, next) => {
 *     stream.pipe(stream)
 *     await next()
 *   })
 * const server = await app.listen(0)
 * await server.close()
 */
export function timeout(options: TimeoutOptions = {}): Middleware<StreamContext> {
  const {
    handshake = 10_000,
    firstByte,
    idle = 60_000,
    write = 30_000,
    lifetime = Infinity,
  } = options
  const { drainTimeout = 15_000 } = options
  const given = { handshake, firstByte: firstByte ?? 10_000, idle, write, lifetime }
  checkOptionNames('timeout', options, [...Object.keys(given), 'drainTimeout'])
  for (const [option, value] of Object.entries(given)) {
    checkDuration('timeout', option, value)
    if (value === 0) throw optionError('timeout', option, 'milliseconds of at least 1', value)
  }
  checkDuration('timeout', 'drainTimeout', drainTimeout)
  const ofClient = { ...given, firstByte: firstByte ?? Infinity }

  return defineMiddleware<StreamContext>(
    { name: 'timeout', after: ['connect', 'proxyProtocol', 'limit'], before: 'secure' },
    async function timeout(ctx, next) {
      const bounds = isConnection(ctx) ? given : ofClient
      const stop = watch(ctx, bounds, (overstepped) => {
        const error = errorOf(ctx, overstepped, bounds[overstepped])
        log('%d %s', ctx.id, error.message)
        if (overstepped === 'lifetime') evict(ctx, error, { drainTimeout })
        // A client may make another connection; a connection has nothing to come back to.
        else if (isConnection(ctx)) ctx.destroy(error)
        else ctx.disconnect(error)
      })
      try {
        await next()
      } finally {
        stop()
      }
    },
  )
}

/** Tells of each bound that a connection oversteps; returns what ends that. */
function watch(
  ctx: StreamContext,
  bounds: Bounds,
  overstep: (bound: keyof Bounds) => void,
): () => void {
  const { read, restore } = meter(ctx)
  const watching = new Deadlines(bounds, performance.now(), read())
  let timer: NodeJS.Timeout | undefined
  let recheck: NodeJS.Immediate | undefined

  const arm = (): void => {
    const delay = watching.delay(performance.now())
    timer = delay === Infinity ? undefined : setTimeout(look, Math.min(delay, maxTimerDelay))
  }
  const settle = (bound: keyof Bounds | undefined): void => {
    // Who is cut is not looked at again.
    if (bound === undefined || bound === 'lifetime') arm()
    if (bound !== undefined) overstep(bound)
  }
  const look = (): void => {
    const bound = watching.check(performance.now(), read())
    if (bound === undefined || bound === 'lifetime') return settle(bound)
    // Once around the loop: had this side stood still, what has come meanwhile is read by then.
    recheck = setImmediate(() => settle(watching.check(performance.now(), read())))
  }

  arm()
  return () => {
    clearTimeout(timer)
    clearImmediate(recheck)
    restore()
  }
}

function isConnection(ctx: StreamContext): ctx is ConnectionContext {
  return ctx.kind === 'connection'
}

function errorOf(ctx: StreamContext, bound: keyof Bounds, time: number): CioError {
  const [code, what] = stories[bound]
  return new CioError(code, `${ctx.remote} ${what} ${time} ms`, { fault: 'remote' })
}

const stories: Record<keyof Bounds, readonly [code: string, what: string]> = {
  handshake: ['ERR_CIO_HANDSHAKE_TIMEOUT', 'was not done with its handshake within'],
  firstByte: ['ERR_CIO_FIRST_BYTE', 'did not send a byte within'],
  idle: ['ERR_CIO_IDLE', 'and this side have sent nothing for'],
  write: ['ERR_CIO_WRITE_TIMEOUT', 'has read nothing of what waits for it for'],
  lifetime: ['ERR_CIO_LIFETIME', 'has been here for'],
}

export { timeout as default }
