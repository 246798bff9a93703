import { debug } from '../src/debug.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { evict } from '../src/lifecycle/evict.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, maxTimerDelay, optionError } from '../src/options.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { type Meter, meter } from './timeout/traffic.ts'
import { type Bounds, Deadlines } from './timeout/deadlines.ts'

const log = debug('cio:timeout')
const names = ['handshake', 'firstByte', 'idle', 'write', 'lifetime', 'drainTimeout']

/** Options of {@link timeout}. */
export interface TimeoutOptions {
  /**
   * Milliseconds for the TLS handshake; `handshakeTimeout` of `listen()` and `connect()` applies as
   * well. `Infinity` leaves it to that option.
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
   * Milliseconds without data in either direction (idle timeout). `Infinity` waits for ever.
   *
   * @default 60_000
   */
  readonly idle?: number
  /**
   * Milliseconds in which unsent data waits and the peer reads none of it. `Infinity` waits for
   * ever.
   *
   * @default 30_000
   */
  readonly write?: number
  /**
   * Maximum duration of the connection, in milliseconds; after it, Cio drains the connection.
   *
   * @default Infinity
   */
  readonly lifetime?: number
  /**
   * Milliseconds to finish after `lifetime`; after it, Cio destroys the connection. `Infinity`
   * waits for ever.
   *
   * @default 15_000
   */
  readonly drainTimeout?: number
}

/**
 * Idle timeout, write timeout and maximum lifetime of a connection.
 *
 * It costs nothing per chunk: one timer per connection compares the counters of its socket. So a
 * timeout fires at most a quarter of its value late.
 *
 * It counts bytes, not messages, and only bytes that the network has accepted. A peer that sends
 * one byte a minute is not idle, and a peer that reads one byte is not stuck; `lifetime` limits
 * those. A connection over its `lifetime` drains (`ctx.draining`); all others are closed at once.
 *
 * @pipelines connection, client
 * @order before `secure`, to include the handshake; after `limit`, where connections may wait
 * @adds nothing
 * @rejects `ERR_CIO_HANDSHAKE_TIMEOUT`, `ERR_CIO_FIRST_BYTE`, `ERR_CIO_IDLE`,
 *   `ERR_CIO_WRITE_TIMEOUT`, `ERR_CIO_LIFETIME` (remote): that timeout was exceeded
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
  checkOptionNames('timeout', options, names)
  const {
    handshake = 10_000,
    firstByte,
    idle = 60_000,
    write = 30_000,
    lifetime = Infinity,
  } = options
  const { drainTimeout = 15_000 } = options
  const given = { handshake, firstByte: firstByte ?? 10_000, idle, write, lifetime }
  for (const [option, value] of Object.entries(given)) {
    checkDuration('timeout', option, value)
    if (value === 0) throw optionError('timeout', option, 'milliseconds of at least 1', value)
  }
  checkDuration('timeout', 'drainTimeout', drainTimeout)
  const ofClient = { ...given, firstByte: firstByte ?? Infinity }

  return defineMiddleware<StreamContext>(
    {
      name: 'timeout',
      pipelines: ['connection', 'client'],
      after: ['connect', 'proxyProtocol', 'limit'],
      before: 'secure',
    },
    async function timeout(ctx, next) {
      const bounds = isConnection(ctx) ? given : ofClient
      const watch = new Watch(ctx, bounds, drainTimeout)
      try {
        await next()
      } finally {
        watch.stop()
      }
    },
  )
}

/** Looks at the traffic of one connection now and then. */
class Watch {
  readonly #ctx: StreamContext
  readonly #bounds: Bounds
  readonly #drainTimeout: number
  readonly #meter: Meter
  readonly #deadlines: Deadlines
  #timer: NodeJS.Timeout | undefined
  #recheck: NodeJS.Immediate | undefined

  constructor(ctx: StreamContext, bounds: Bounds, drainTimeout: number) {
    this.#ctx = ctx
    this.#bounds = bounds
    this.#drainTimeout = drainTimeout
    this.#meter = meter(ctx)
    const now = performance.now()
    this.#deadlines = new Deadlines(bounds, now, this.#meter.read())
    this.#arm(now)
  }

  stop(): void {
    clearTimeout(this.#timer)
    clearImmediate(this.#recheck)
    this.#meter.restore()
  }

  #arm(now: number): void {
    const delay = this.#deadlines.delay(now)
    if (delay === Infinity) return
    this.#timer = setTimeout(() => this.#look(), Math.min(delay, maxTimerDelay))
  }

  #look(): void {
    const bound = this.#check()
    if (bound === undefined || bound === 'lifetime') return this.#settle(bound)
    // One turn of the event loop later: if this process was blocked, it reads the pending input
    // first.
    this.#recheck = setImmediate(() => this.#settle(this.#check()))
  }

  #check(): keyof Bounds | undefined {
    return this.#deadlines.check(performance.now(), this.#meter.read())
  }

  #settle(bound: keyof Bounds | undefined): void {
    // A connection that is being closed needs no further check.
    if (bound === undefined || bound === 'lifetime') this.#arm(performance.now())
    if (bound !== undefined) this.#overstep(bound)
  }

  #overstep(bound: keyof Bounds): void {
    const ctx = this.#ctx
    const error = errorOf(ctx, bound, this.#bounds[bound])
    log('%d %s', ctx.id, error.message)
    if (bound === 'lifetime') evict(ctx, error, { drainTimeout: this.#drainTimeout })
    // A client may reconnect; a server connection cannot.
    else if (isConnection(ctx)) ctx.destroy(error)
    else ctx.disconnect(error)
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
  handshake: ['ERR_CIO_HANDSHAKE_TIMEOUT', 'did not complete its handshake within'],
  firstByte: ['ERR_CIO_FIRST_BYTE', 'did not send a byte within'],
  idle: ['ERR_CIO_IDLE', 'and this side have sent nothing for'],
  write: ['ERR_CIO_WRITE_TIMEOUT', 'has read none of the data queued for it for'],
  lifetime: ['ERR_CIO_LIFETIME', 'has been connected for'],
}

export { timeout as default }
