import { debug } from '../src/debug.ts'
import { reportError } from '../src/lifecycle/app-events.ts'
import { CioError, asError } from '../src/errors.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { handshake } from '../src/tls/secure.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { unawaited } from '../src/lifecycle/unawaited.ts'

/** Options of {@link startTls}. */
export interface StartTlsOptions {
  /**
   * Milliseconds for sending the answer to the command. The handshake after it has
   * `handshakeTimeout`. `Infinity` waits for ever.
   *
   * @default 10_000
   */
  readonly timeout?: number
}

/** What {@link startTls} adds. */
export interface StartTlsContext {
  /**
   * Upgrades the connection to TLS; fulfils when the other side is verified. From then on
   * `ctx.stream`, `ctx.peer` and `ctx.messages` are those of TLS.
   *
   * @param goAhead Sends the answer that lets the other side begin TLS. On a server, no unread
   *   input may be left before it; so send the answer here, and not earlier.
   */
  startTls(goAhead?: () => unknown): Promise<void>
}

type Context = StreamContext & StartTlsContext & Partial<MessagesContext<unknown>>

const log = debug('cio:startTls')
const defaultTimeout = 10_000
const tlsRecord = 0x16

/**
 * STARTTLS: upgrades a plaintext connection to TLS when your handler asks.
 *
 * For SMTP, IMAP, LDAP, PostgreSQL and similar. `ctx.startTls()` uses the certificates of
 * `listen()`, or the options of `connect()`, and verifies as `secure` does. If bytes arrived after
 * the command, or after the answer to it, a man in the middle may have injected them, and Cio
 * closes the connection: after the upgrade it never reads plaintext input. A failed handshake also
 * closes the connection, so that neither side continues in plaintext.
 *
 * Before the upgrade, `ctx.peer` is null. Put lists, and all other middleware that need a verified
 * peer, after the middleware that calls `ctx.startTls()`; that middleware must not call `next()`
 * without TLS.
 *
 * @pipelines connection, client
 * @order before `secure`, which then makes no handshake; after `connect` and `proxyProtocol`
 * @adds `ctx.startTls()`
 * @rejects `ERR_CIO_INJECTION` (remote): unexpected bytes arrived before TLS;
 *   `ERR_CIO_HANDSHAKE_TIMEOUT` (remote): the answer could not be sent in time; `ERR_CIO_START_TLS`
 *   (remote on a server, local on a client): a second time; (local) over a layer, or with other
 *   readers
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
    {
      name: 'startTls',
      pipelines: ['connection', 'client'],
      after: ['connect', 'proxyProtocol'],
      before: 'secure',
      provides: 'peer',
    },
    function startTls(ctx, next) {
      ctx.skipTls()
      let begun = false
      const start = async (goAhead?: () => unknown): Promise<void> => {
        if (goAhead !== undefined && typeof goAhead !== 'function') {
          throw optionError('startTls', 'goAhead', 'a function', goAhead)
        }
        check(ctx, begun)
        begun = true
        try {
          await upgrade(ctx, goAhead, timeout)
        } catch (thrown) {
          // Even if the caller catches the error, it must not continue in plaintext.
          const error = asError(thrown)
          ctx.destroy(error)
          throw error
        }
      }
      // If the error destroyed the connection, the connection's end reports it.
      const untaken = (error: Error): void => {
        if (!ctx.isClosed) reportError(ctx.app, error, ctx)
      }
      ctx.startTls = (goAhead) => unawaited(ctx, start(goAhead), untaken)
      return next()
    },
  )
}

/** Throws before anything is sent, so that the connection stays usable. */
function check(ctx: Context, begun: boolean): void {
  const refuse = (why: string, fault: 'remote' | 'local'): CioError =>
    new CioError('ERR_CIO_START_TLS', `startTls: ${why} (${ctx.remote})`, { fault })
  if (begun || ctx.encrypted) {
    throw refuse(
      'the connection has TLS already, or is upgrading to it',
      ctx.kind === 'connection' ? 'remote' : 'local',
    )
  }
  if (ctx.stream !== ctx.transport) {
    throw refuse(
      'there is a layer over the socket; call `ctx.startTls()` before `layer` or `multiplex`',
      'local',
    )
  }
  if (ctx.hasMessages && ctx.messages?.isAwaited) {
    throw refuse(
      'another reader waits for a message; register `events` and `rpc` after it',
      'local',
    )
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
    const message = `startTls: another reader uses ctx.stream of ${ctx.remote}; remove listeners and pipes first`
    throw new CioError('ERR_CIO_START_TLS', message)
  }
  await within(timeout, ctx, async () => {
    await goAhead?.()
    messages?.release()
    // TLS bypasses the stream's write queue, so the queue must be empty first.
    await flushed(ctx)
  })
  const early = stream.read() as Buffer | null
  if (early) {
    if (early[0] !== tlsRecord) throw injection(ctx)
    stream.unshift(early)
  }
  await handshake(ctx)
  messages?.moveTo(ctx.stream)
  log('%d upgraded to TLS', ctx.id)
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
    const message = `${remote} did not read the answer to its TLS command within ${timeout} ms`
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
  const message = `${remote} sent unexpected bytes before TLS: a man in the middle may have injected them`
  return new CioError('ERR_CIO_INJECTION', message, { fault: 'remote' })
}

export { startTls as default }
