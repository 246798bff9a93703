import { debug } from '../src/debug.ts'
import { emitSafely, reportError } from '../src/lifecycle/app-events.ts'
import { Backoff, sleep } from '../src/rates/backoff.ts'
import type { ClientContext } from '../src/client/client.ts'
import { asError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { RetryBudget } from '../src/rates/retry-budget.ts'
import { OfflineMessages } from './reconnect/offline-messages.ts'
import { isRefusal, isRetryable } from './reconnect/is-retryable.ts'

const log = debug('cio:reconnect')

/** Options of {@link reconnect}. */
export interface ReconnectOptions {
  /**
   * Maximum number of retries in a row without a stable connection. `Infinity` never gives up.
   *
   * @default Infinity
   */
  readonly retries?: number
  /**
   * Base delay before the first retry, in milliseconds, before jitter.
   *
   * @default 500
   */
  readonly delay?: number
  /**
   * Upper bound of each delay, in milliseconds.
   *
   * @default 30_000
   */
  readonly maxDelay?: number
  /**
   * Factor from one delay to the next; at least 1.
   *
   * @default 2
   */
  readonly factor?: number
  /**
   * The random share of each delay, from 0 to 1. With less than 1, clients that lost their
   * connections together reconnect closer together.
   *
   * @default 1
   */
  readonly jitter?: number
  /**
   * Milliseconds that a connection has to last before the retry count and the delay start again.
   *
   * @default 5_000
   */
  readonly stableAfter?: number
  /**
   * Limits the retries of all clients that share it. If it is empty, the client waits again.
   *
   * @default none
   */
  readonly budget?: RetryBudget
  /**
   * Decides whether to reconnect after a retryable failure. `error` is undefined if the server
   * closed the connection without an error.
   *
   * @default always
   */
  readonly when?: (error: Error | undefined, ctx: ClientContext) => boolean | Promise<boolean>
  /**
   * Milliseconds that `ctx.messages.send()` waits for the next connection while there is none. 0
   * rejects at once, `Infinity` waits for ever.
   *
   * @default 0
   */
  readonly sendTimeout?: number
  /**
   * Maximum number of messages that may wait at once.
   *
   * @default 1_000
   */
  readonly maxWaiting?: number
}

/** One retry, as in the event `reconnect`. */
export interface Reconnect {
  /** 1 for the first since a stable connection. */
  readonly retry: number
  /** Milliseconds before the retry. */
  readonly delay: number
  /** The reason; undefined if the server closed the connection without an error. */
  readonly error: Error | undefined
}

declare module '../src/lifecycle/app.ts' {
  interface AppEvents {
    /** A connection failed or was lost, and `reconnect` will retry after a delay. */
    reconnect: [retry: Reconnect, client: ClientContext]
  }
}

/**
 * Reconnects with exponential backoff and jitter, at first and after each loss.
 *
 * The middleware inside it runs again on each connection. The client's context stays the same, with
 * a new `stream`, `socket`, `peer` and `messages`. `connect()` resolves after the first success. If
 * your handler returns before the server closes, the client ends and does not reconnect.
 *
 * It gives up at once on permanent errors: an error of the application, `close()`, and, before the
 * first successful connection, a rejected certificate. After a success, an attacker on the network
 * could forge such a rejection to stop the client for good. So it then retries with the longest
 * delay, and `reject` or `remoteError` reports each rejection. It does not detect a silent server:
 * for that, send a heartbeat that must be answered.
 *
 * Without a connection, `ctx.messages` is a placeholder. Its `send()` rejects with
 * `ERR_CIO_CLOSED`, or waits for the next connection. Cio sends nothing twice: a message in transit
 * when the connection was lost may have arrived or not, and only the application can find out.
 *
 * @pipelines client
 * @order before `connect`; the middleware after it, such as a proxy registered later, runs again on
 *   each connection
 * @adds nothing; a placeholder for `ctx.messages` while there is no connection
 * @rejects the error of the last attempt, when it gives up; `ERR_CIO_CLOSED` (remote): `send()`
 *   without a connection; `ERR_CIO_QUEUE_SIZE` (local): more than `maxWaiting` wait;
 *   `ERR_CIO_NO_MESSAGES` (local): the placeholder is used, and there is no codec
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 * @see https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
 *
 * @example
 * import { Cio, lines, reconnect } from 'cio'
 *
 * const server = await new Cio().useConnection((ctx) => ctx.stream.end('hello\n')).listen(0)
 * const app = new Cio().useClient(reconnect({ delay: 100, retries: 3 })).useClient(lines())
 * app.on('reconnect', ({ retry, delay }) => console.log(`retry ${retry} in ${delay} ms`))
 *
 * const client = await app.connect(server.port)
 * console.log(await client.messages.next())
 * await client.close()
 * await server.close()
 */
export function reconnect(options: ReconnectOptions = {}): Middleware<ClientContext> {
  checkOptionNames('reconnect', options, optionNames)
  const {
    stableAfter = 5_000,
    budget,
    when = () => true,
    sendTimeout = 0,
    maxWaiting = 1_000,
    ...own
  } = options
  const backoff = new Backoff('reconnect', { ...defaults, ...own })
  checkDuration('reconnect', 'stableAfter', stableAfter)
  checkDuration('reconnect', 'sendTimeout', sendTimeout)
  checkCount('reconnect', 'maxWaiting', maxWaiting)
  if (typeof when !== 'function') throw optionError('reconnect', 'when', 'a function', when)
  if (budget !== undefined && typeof budget?.withdraw !== 'function') {
    throw optionError('reconnect', 'budget', 'a RetryBudget', budget)
  }

  return defineMiddleware<ClientContext>(
    { name: 'reconnect', pipelines: ['client'], repeats: true, before: 'connect' },
    async function reconnect(ctx, next) {
      const holder = ctx as unknown as { messages: unknown }
      const outer = ctx.hasMessages ? holder.messages : undefined
      const away = new OfflineMessages(ctx, sendTimeout, maxWaiting)
      holder.messages = away
      let since = Infinity
      const forget = ctx.onConnect(() => {
        since = performance.now()
        budget?.deposit()
        away.flush()
      })
      // A connection that has not reached the end of the pipeline before close() never will.
      const stop = (): void => {
        if (!ctx.connected && since === Infinity) ctx.disconnect()
      }
      ctx.draining.addEventListener('abort', stop)
      let succeeded = false

      try {
        for (let retry = 1; ; retry++) {
          since = Infinity
          const thrown = await next().then(() => undefined, asError)
          const came = since < Infinity
          if (ctx.isDraining && !ctx.isClosed && !came) return
          const error = thrown ?? ctx.broken
          const refused = isRefusal(error)
          const lasted = came && performance.now() - since >= stableAfter
          if (lasted) retry = 1
          // In TLS 1.3 a client reaches the end of the pipeline before it learns of a rejection.
          succeeded ||= lasted || (!refused && (came || ctx.encrypted))

          const hopeless = refused ? !succeeded : !isRetryable(thrown, ctx)
          const done = ctx.isDraining || ctx.isClosed || hopeless || retry > backoff.retries
          if (done || !(await when(error, ctx))) {
            if (thrown) throw thrown
            return
          }
          if (refused && error) reportError(ctx.app, error, ctx)
          ctx.detach()
          if (!(await waited(ctx, retry, error, refused))) return
        }
      } finally {
        ctx.draining.removeEventListener('abort', stop)
        forget()
        away.close()
        // Later sends on this context reject, because the client has ended.
        holder.messages = outer ?? away
      }
    },
  )

  /** Waits until the next retry is due; false if the client was closed meanwhile. */
  async function waited(
    ctx: ClientContext,
    retry: number,
    error: Error | undefined,
    refused: boolean,
  ): Promise<boolean> {
    for (;;) {
      const delay = refused ? backoff.longestDelay() : backoff.delay(retry)
      log('%d %s, retry %d in %d ms', ctx.id, error?.message ?? 'ended', retry, delay)
      emitSafely(ctx.app, 'reconnect', { retry, delay, error }, ctx)
      try {
        await sleep(delay, ctx.draining)
      } catch {
        if (ctx.isClosed) throw ctx.signal.reason
        return false
      }
      if (!budget || budget.withdraw()) return true
    }
  }
}

const defaults = { retries: Infinity, delay: 500, maxDelay: 30_000, factor: 2, jitter: 1 } as const
const own = ['stableAfter', 'budget', 'when', 'sendTimeout', 'maxWaiting'] as const
const optionNames = [...Object.keys(defaults), ...own]

export { reconnect as default }
