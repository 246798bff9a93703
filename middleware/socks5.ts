import type { Duplex } from 'node:stream'
import { SocksClient } from 'socks'
import type { ClientContext } from '../src/client/client.ts'
import { type ConnectOptions, placeOf } from '../src/client/connect-options.ts'
import { debug } from '../src/debug.ts'
import { CioError, asError } from '../src/errors.ts'
import { askedHost, withoutBrackets } from '../src/streams/host-name.ts'
import { checkPort } from '../src/lifecycle/option-values.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkOptionNames, maxTimerDelay, optionError } from '../src/options.ts'
import { viaProxy } from '../src/client/via-proxy.ts'
import { Answers } from './socks5/answers.ts'

const log = debug('cio:socks5')

/** Options of {@link socks5}. */
export interface Socks5Options {
  /**
   * The proxy's name or address.
   *
   * @default 'localhost'
   */
  readonly host?: string
  /**
   * The proxy's port.
   *
   * @default 1080
   */
  readonly port?: number
  /**
   * The user name for the proxy; at most 255 bytes.
   *
   * @default none: connects without authentication
   */
  readonly username?: string
  /**
   * The password; at most 255 bytes. It appears in no error and no log.
   *
   * @default none
   */
  readonly password?: string
}

const known = ['host', 'port', 'username', 'password']
const longest = 255

/**
 * SOCKS5 proxy: connects a client through it, with or without a password.
 *
 * The proxy resolves host names, so that you can reach names of its network, and the local DNS does
 * not see them. TLS passes through the proxy end to end, and `secure` checks the host that you
 * connect to. The password is sent to the proxy unencrypted; use `httpConnect` with TLS to protect
 * it. `connectTimeout` limits the time for the proxy and the server together.
 *
 * If you register a second `socks5`, or an `httpConnect`, after it, it is reached through this one.
 *
 * @pipelines client
 * @order before `connect`
 * @adds nothing; puts `createConnection` into `ctx.options`
 * @rejects `ERR_CIO_PROXY` (remote): the proxy could not connect, with its reason;
 *   `ERR_CIO_PROXY_AUTH` (local): it rejected the credentials; Node's error: it is unreachable
 * @throws `ERR_CIO_OPTION`: an option is unknown or invalid
 * @see RFC 1928 and RFC 1929
 *
 * @example
 * import { Cio } from 'cio'
 * import { socks5 } from 'cio/socks5'
 *
 * const app = new Cio().useClient(socks5({ host: 'localhost', port: 1080 }))
 * app.on('connect', (ctx) => console.log(`connected to ${ctx.remote}`))
 */
export function socks5(options: Socks5Options = {}): Middleware<ClientContext> {
  checkOptionNames('socks5', options, known)
  const { host: given = 'localhost', port = 1080 } = options
  if (typeof given !== 'string' || given === '') {
    throw optionError('socks5', 'host', 'a name', given)
  }
  const host = withoutBrackets(given)
  checkPort('socks5', port)
  for (const name of ['username', 'password'] as const) {
    const value: unknown = options[name] ?? 'absent'
    const size = typeof value === 'string' ? Buffer.byteLength(value) : 0
    if (size >= 1 && size <= longest) continue
    // The message must not contain the value.
    throw new CioError('ERR_CIO_OPTION', `socks5: \`${name}\` must have 1 to ${longest} bytes`)
  }

  return defineMiddleware<ClientContext>(
    { name: 'socks5', pipelines: ['client'], before: 'connect' },
    function socks5(ctx, next) {
      return viaProxy(ctx, { host, port }, next, (stream, target) => {
        log('%d asks for %s', ctx.id, placeOf(target))
        return negotiate(stream, target, { ...options, host, port })
      })
    },
  )
}

async function negotiate(
  stream: Duplex,
  { host: wanted, port = 0, connectTimeout = maxTimerDelay }: ConnectOptions,
  proxy: Socks5Options & { readonly host: string; readonly port: number },
): Promise<Duplex> {
  const host = askedHost(wanted)
  const answers = new Answers(stream)
  try {
    await SocksClient.createConnection({
      command: 'connect',
      destination: { host, port },
      existing_socket: answers,
      timeout: Math.max(1, Math.min(connectTimeout, maxTimerDelay)),
      proxy: {
        type: 5,
        host: proxy.host,
        port: proxy.port,
        ...(proxy.username !== undefined && { userId: proxy.username }),
        ...(proxy.password !== undefined && { password: proxy.password }),
      },
    })
    return stream
  } catch (thrown) {
    throw refused(asError(thrown).message, proxy, placeOf({ host, port }))
  }
}

/** Without the library's error as the cause: it contains the password. */
function refused(
  why: string,
  at: { readonly host: string; readonly port: number },
  target: string,
): CioError {
  const proxy = `the SOCKS5 proxy ${placeOf(at)}`
  if (/authentication/i.test(why)) {
    return new CioError(
      'ERR_CIO_PROXY_AUTH',
      `${proxy} rejected the login: ${why}; check \`username\` and \`password\``,
    )
  }
  return new CioError('ERR_CIO_PROXY', `${proxy} did not connect to ${target}: ${why}`, {
    fault: 'remote',
  })
}

export { socks5 as default }
