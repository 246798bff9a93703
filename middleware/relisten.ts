import { debug } from '../src/debug.ts'
import { emitSafely } from '../src/lifecycle/app-events.ts'
import { Backoff, type BackoffOptions, sleep } from '../src/rates/backoff.ts'
import { asError } from '../src/errors.ts'
import { isAddressUnavailable } from '../src/network-errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import type { ServerContext } from '../src/server/server.ts'
import { removeStaleSocket } from '../src/server/stale-socket.ts'

const log = debug('cio:relisten')

/** Options of {@link relisten}. */
export interface RelistenOptions extends BackoffOptions {}

/** One retry, as in the event `relisten`. */
export interface Relisten {
  /** 1 for the first. */
  readonly retry: number
  /** Milliseconds before the retry; 0 after the removal of a stale socket file. */
  readonly delay: number
  /** The reason. */
  readonly error: Error
}

declare module '../src/lifecycle/app.ts' {
  interface AppEvents {
    /** The address is in use or not available yet, and `relisten` will retry after a delay. */
    relisten: [retry: Relisten, server: ServerContext]
  }
}

/**
 * Retries `listen()` while the port is in use (EADDRINUSE), with backoff.
 *
 * It retries `EADDRINUSE`, for restarts when the previous process still holds the port, and
 * `EADDRNOTAVAIL`, for boot when the network is not up yet. Then it gives up with that error. It
 * stops at once when `listen()` is aborted.
 *
 * A killed process leaves the file of its Unix socket behind. `relisten` removes it if it is a
 * socket of the same user that refuses connections; never a link, and never in a cluster worker.
 *
 * @pipelines server
 * @order right before `listen`, after all else: the middleware inside it runs again on each retry
 * @adds nothing
 * @rejects `EADDRINUSE`, `EADDRNOTAVAIL` (local): Node's own error, after the last retry
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
    { name: 'relisten', pipelines: ['server'], repeats: true, before: 'listen', after: '*' },
    async function relisten(ctx, next) {
      for (let retry = 1; ; retry++) {
        try {
          return await next()
        } catch (thrown) {
          const error: NodeJS.ErrnoException = asError(thrown)
          if (!isAddressUnavailable(error) || ctx.wasReady || retry > backoff.retries) throw error
          const { path } = ctx.options
          const isUsed = path !== undefined && error.code === 'EADDRINUSE'
          const isRemoved = isUsed && (await removeStaleSocket(path, ctx.signal))
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
