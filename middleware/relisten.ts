import debug from 'debug'
import { emitSafely } from '../src/lifecycle/app-events.ts'
import { Backoff, type BackoffOptions, sleep } from '../src/rates/backoff.ts'
import { asError } from '../src/errors.ts'
import { isAddressUnavailable } from '../src/network-errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import type { ServerContext } from '../src/server/server.ts'
import { removeStale } from './relisten/stale-socket.ts'

const log = debug('cio:relisten')

/** Options of {@link relisten}. */
export interface RelistenOptions extends BackoffOptions {}

/** One retry, as the event `relisten` tells it. */
export interface Relisten {
  /** 1 for the first. */
  readonly retry: number
  /** Milliseconds that it waits before it; 0 where it has removed the file of a dead socket. */
  readonly delay: number
  /** Why it has to. */
  readonly error: Error
}

declare module '../src/lifecycle/app-events.ts' {
  interface AppEvents {
    /** The address is in use or not there yet, and `relisten` will try again after a delay. */
    relisten: [retry: Relisten, server: ServerContext]
  }
}

/**
 * Listens again while the address is in use, or not there yet.
 *
 * `EADDRINUSE` is retried, for restarts, where the process before has not let go of its port yet;
 * and `EADDRNOTAVAIL`, for a boot at which the network is not up yet. Gives up with that error, and
 * stops at once when `listen()` is aborted.
 *
 * A process that was killed leaves the file of its Unix socket behind. It is removed if it is a
 * socket of the same user that refuses connections; never a link, and never in a cluster worker.
 *
 * @pipelines server
 * @order right before `listen`, after all else: what is inside it runs again with each retry
 * @adds nothing
 * @rejects `EADDRINUSE`, `EADDRNOTAVAIL` (app): Node's own error, when the retries are used up
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 *
 * @example
 * import { Cio, relisten } from 'cio'
 *
 * const app = new Cio().useServer(relisten({ retries: 5, delay: 1_000, factor: 2 }))
 * app.on('relisten', ({ retry, delay }) => console.log(`retry ${retry} in ${delay} ms`))
 */
export function relisten(options: RelistenOptions = {}): Middleware<ServerContext> {
  const backoff = new Backoff('relisten', options)

  return defineMiddleware<ServerContext>(
    { name: 'relisten', repeats: true, before: 'listen', after: '*' },
    async function relisten(ctx, next) {
      for (let retry = 1; ; retry++) {
        try {
          return await next()
        } catch (thrown) {
          const error: NodeJS.ErrnoException = asError(thrown)
          if (!isAddressUnavailable(error) || ctx.wasReady || retry > backoff.retries) throw error
          const { path } = ctx.options
          const isUsed = path !== undefined && error.code === 'EADDRINUSE'
          const isRemoved = isUsed && (await removeStale(path, ctx.signal))
          const delay = isRemoved ? 0 : backoff.delay(retry)
          log('%s, retry %d in %d ms', error.message, retry, delay)
          emitSafely(ctx.app, 'relisten', { retry, delay, error }, ctx)
          await sleep(delay, ctx.signal)
        }
      }
    },
  )
}

export { relisten as default }
