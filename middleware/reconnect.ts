import debug from 'debug'
import { emitSafely, reportError } from '../src/lifecycle/app-events.ts'
import { Backoff, sleep } from '../src/rates/backoff.ts'
import type { ClientContext } from '../src/client/client.ts'
import { asError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkDuration, optionError } from '../src/options.ts'
import { RetryBudget } from '../src/rates/retry-budget.ts'
import { OfflineMessages } from './reconnect/offline-messages.ts'
import { isRetryable, isRefusal } from './reconnect/is-retryable.ts'

const log = debug('cio:reconnect')

/** Options of {@link reconnect}. */
export interface ReconnectOptions {
  /**
   * How many tries follow one another without a stable connection. `Infinity` never gives up.
   *
   * @default Infinity
   */
  readonly retries?: number
  /**
   * Milliseconds before the first retry, before chance makes less of it.
   *
   * @default 500
   */
  readonly delay?: number
  /**
   * Milliseconds that no delay exceeds.
   *
   * @default 30_000
   */
  readonly maxDelay?: number
  /**
   * What each delay is the last one multiplied by; at least 1.
   *
   * @default 2
   */
  readonly factor?: number
  /**
   * The share of each delay that is left to chance, from 0 to 1. Less than 1 brings clients that
   * were lost together back together.
   *
   * @default 1
   */
  readonly jitter?: number
  /**
   * Milliseconds that a connection has to last at its far end for retries and delay to start again.
   *
   * @default 5_000
   */
  readonly stableAfter?: number
  /**
   * Bounds the retries of all that share it. Where it allows none, another delay passes.
   *
   * @default none
   */
  readonly budget?: RetryBudget
  /**
   * Whether to connect again after a loss that may heal. `error` is undefined where the server ended
   * the connection in an orderly way.
   *
   * @default always
   */
  readonly when?: (error: Error | undefined, ctx: ClientContext) => boolean | Promise<boolean>
  /**
   * Milliseconds that `ctx.messages.send()` waits for the next connection while there is none. At 0
   * it rejects at once, `Infinity` waits for ever.
   *
   * @default 0
   */
  readonly sendTimeout?: number
  /**
   * How many may wait so at a time.
   *
   * @default 1_000
   */
  readonly maxWaiting?: number
}

/** One retry, as the event `reconnect` tells it. */
export interface Reconnect {
  /** 1 for the first since a stable connection. */
  readonly retry: number
  /** Milliseconds that it waits before it. */
  readonly delay: number
  /** Why it has to; undefined where the server ended the connection in an orderly way. */
  readonly error: Error | undefined
}

declare module '../src/lifecycle/app-events.ts' {
  interface AppEvents {
    /** A client was not connected, or is so no more, and `reconnect` will try again after a delay. */
    reconnect: [retry: Reconnect, client: ClientContext]
  }
}

/**
 * Connects again, at first and after each loss, with growing and random delays.
 *
 * What stands inside it runs afresh on each connection; the client's context stays, with its
 * `stream`, `socket`, `peer` and `messages` replaced. `connect()` resolves when it first arrives.
 * The end of a handler that returns by itself, before the server has ended, is the end of it all.
 *
 * It gives up at once on what waiting does not heal: a mistake of the application, `close()`, and,
 * before the first connection that succeeds, a certificate that one side refuses. After that one,
 * a stranger on the way could end a client for good by such an answer. So it goes on at the longest
 * delay, and `reject` or `remoteError` reports each refusal. It does not find out that a silent server is gone: for
 * that, send something that has to be answered.
 *
 * While there is no connection, `ctx.messages` is a stand-in, whose `send()` rejects with
 * `ERR_CIO_CLOSED`, or waits for the next one. Cio sends nothing twice: what was under way when a
 * connection was lost may have arrived or not, and only the application can know.
 *
 * @pipelines client
 * @order before `connect`; what comes after it, such as a proxy that is registered later, runs again
 *   with each connection
 * @adds nothing; a stand-in for `ctx.messages` while there is no connection
 * @rejects what the last try did, when it gives up; `ERR_CIO_CLOSED` (remote): `send()` without a
 *   connection; `ERR_CIO_QUEUE_SIZE` (local): more than `maxWaiting` wait; `ERR_CIO_NO_MESSAGES`
 *   (app): the stand-in is used, and there is no codec
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
  if (budget !== undefined && typeof budget.withdraw !== 'function') {
    throw optionError('reconnect', 'budget', 'a RetryBudget', budget)
  }

  return defineMiddleware<ClientContext>(
    { name: 'reconnect', repeats: true, before: 'connect' },
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
      // What is not yet at its far end when close() is called never will be.
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
          // In TLS 1.3 a client comes to its far end before it hears that it is refused.
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
        // Who still holds the client is told by it that it is over.
        holder.messages = outer ?? away
      }
    },
  )

  /** Waits until it is time for a retry; false where it was closed meanwhile. */
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

export { reconnect as default }
