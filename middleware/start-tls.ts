import debug from 'debug'
import { reportError } from '../src/lifecycle/app-events.ts'
import { CioError, asError } from '../src/errors.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames } from '../src/options.ts'
import { handshake } from '../src/tls/secure.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { unawaited } from '../src/lifecycle/unawaited.ts'

/** Options of {@link startTls}. */
export interface StartTlsOptions {
  /**
   * Milliseconds for the go-ahead to be sent. The handshake after it has `handshakeTimeout`.
   * `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly timeout?: number
}

/** What {@link startTls} adds. */
export interface StartTlsContext {
  /**
   * Makes TLS of the connection; fulfils when the other side is verified. From then on
   * `ctx.stream`, `ctx.peer` and `ctx.messages` are those of TLS.
   *
   * @param goAhead Sends what tells the other side to begin. On a server, nothing that came before it
   *   may be left; so send it here, and not before.
   */
  startTls(goAhead?: () => unknown): Promise<void>
}

type Context = StreamContext & StartTlsContext & Partial<MessagesContext<unknown>>

const log = debug('cio:startTls')
const defaultTimeout = 10_000
const tlsRecord = 0x16

/**
 * Lets a connection begin without TLS, and go over to it when both sides say so.
 *
 * As in SMTP, IMAP, LDAP or PostgreSQL. `ctx.startTls()` uses the certificates of `listen()`, or the
 * options of `connect()`, and verifies as `secure` does. Whoever has sent more behind the command, or
 * behind the answer to it, has had it put there by somebody in the middle, and is cut off: nothing
 * that came before TLS is read after it. A handshake that fails ends the connection, so that nobody
 * goes on in plain text.
 *
 * Until then `ctx.peer` is null. Lists, and all that is for verified peers alone, belong after the
 * middleware that calls `ctx.startTls()`, and that one lets nobody through without.
 *
 * @pipelines connection, client
 * @order before `secure`, which then makes no handshake; after `connect` and `proxyProtocol`
 * @adds `ctx.startTls()`
 * @rejects `ERR_CIO_INJECTION` (remote): something came that nobody had been asked for;
 *   `ERR_CIO_HANDSHAKE_TIMEOUT` (remote): the go-ahead could not be sent in time; `ERR_CIO_START_TLS`
 *   (peer on a server, app on a client): a second time; (app) over a layer, or while others read
 * @throws `ERR_CIO_OPTION`: `timeout` is not a duration
 * @see RFC 3207, sections 4 and 6; CVE-2011-0411
 *
 * @example
 * import { Cio, allowList, lines, startTls } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(startTls())
 *   .useConnection(lines())
 *   .useConnection(async function begin(ctx, next) {
 *     for await (const line of ctx.messages) {
 *       if (line !== 'STARTTLS') await ctx.messages.send('say STARTTLS')
 *       else {
 *         await ctx.startTls(() => ctx.messages.send('go ahead'))
 *         return next()
 *       }
 *     }
 *   })
 *   .useConnection(allowList(['alice']))
 *   .useConnection(async (ctx) => {
 *     for await (const line of ctx.messages) await ctx.messages.send(line)
 *   })
 */
export function startTls(
  options: StartTlsOptions = {},
): Middleware<StreamContext, StartTlsContext> {
  checkOptionNames('startTls', options, ['timeout'])
  const { timeout = defaultTimeout } = options
  checkDuration('startTls', 'timeout', timeout)

  return defineMiddleware<StreamContext, StartTlsContext>(
    { name: 'startTls', after: ['connect', 'proxyProtocol'], before: 'secure', provides: 'peer' },
    function startTls(ctx, next) {
      ctx.skipTls()
      let begun = false
      const start = async (goAhead?: () => unknown): Promise<void> => {
        check(ctx, begun)
        begun = true
        try {
          await upgrade(ctx, goAhead, timeout)
        } catch (thrown) {
          // Whoever catches it must not go on in plain text.
          const error = asError(thrown)
          ctx.destroy(error)
          throw error
        }
      }
      // What has destroyed the connection is reported by its end.
      const untaken = (error: Error): void => {
        if (!ctx.isClosed) reportError(ctx.app, error, ctx)
      }
      ctx.startTls = (goAhead) => unawaited(ctx, start(goAhead), untaken)
      return next()
    },
  )
}

/** Throws before anything is sent: the connection is as good as it was. */
function check(ctx: Context, begun: boolean): void {
  const refuse = (why: string, fault: 'remote' | 'local'): CioError =>
    new CioError('ERR_CIO_START_TLS', `startTls: ${why} (${ctx.remote})`, { fault })
  if (begun || ctx.encrypted) {
    throw refuse(
      'there is TLS already, or about to be',
      ctx.kind === 'connection' ? 'remote' : 'local',
    )
  }
  if (ctx.stream !== ctx.transport) {
    throw refuse('there is a layer over the socket; call it before `layer` and its like', 'local')
  }
  if (ctx.hasMessages && ctx.messages?.isAwaited) {
    throw refuse('somebody waits for a message; register `events` and `rpc` after it', 'local')
  }
}

async function upgrade(
  ctx: Context,
  goAhead: (() => unknown) | undefined,
  timeout: number,
): Promise<void> {
  const { stream } = ctx
  const messages = ctx.hasMessages ? ctx.messages : undefined
  messages?.release()
  if (messages?.hasMore || stream.readableLength > 0) throw injection(ctx)
  if (stream.listenerCount('data') + stream.listenerCount('readable') > 0) {
    const message = `startTls: somebody else reads ctx.stream of ${ctx.remote}; remove listeners and pipes first`
    throw new CioError('ERR_CIO_START_TLS', message)
  }
  await within(timeout, ctx, async () => {
    await goAhead?.()
    messages?.release()
    // TLS writes past what waits in the socket.
    await flushed(ctx)
  })
  const early = stream.read() as Buffer | null
  if (early) {
    if (early[0] !== tlsRecord) throw injection(ctx)
    stream.unshift(early)
  }
  await handshake(ctx)
  messages?.moveTo(ctx.stream)
  log('%d goes on in TLS', ctx.id)
}

function flushed({ stream }: StreamContext): Promise<void> {
  if (stream.writableLength === 0) return Promise.resolve()
  return new Promise((resolve, reject) => {
    stream.write('', (error) => (error ? reject(error) : resolve()))
  })
}

async function within(
  timeout: number,
  { remote }: StreamContext,
  work: () => Promise<void>,
): Promise<void> {
  if (timeout === Infinity) return work()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    const message = `${remote} did not read the go-ahead for TLS within ${timeout} ms`
    const error = new CioError('ERR_CIO_HANDSHAKE_TIMEOUT', message, { fault: 'remote' })
    timer = setTimeout(() => reject(error), timeout)
  })
  try {
    await Promise.race([work(), late])
  } finally {
    clearTimeout(timer)
  }
}

function injection({ remote }: StreamContext): CioError {
  const message = `${remote} sent more before TLS than it was asked for: somebody in the middle may have put it there`
  return new CioError('ERR_CIO_INJECTION', message, { fault: 'remote' })
}

export { startTls as default }
