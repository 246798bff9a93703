import type { ClientContext } from '../src/client/client.ts'
import { placeOf } from '../src/client/connect-options.ts'
import { debug } from '../src/debug.ts'
import { withoutBrackets } from '../src/streams/host-name.ts'
import { checkTlsOptions } from '../src/lifecycle/known-options.ts'
import { CioError } from '../src/errors.ts'
import { checkPort } from '../src/lifecycle/option-values.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkObject, checkOptionNames, optionError } from '../src/options.ts'
import { viaProxy } from '../src/client/via-proxy.ts'
import { type ProxyTls, startTls } from './http-connect/proxy-tls.ts'
import { tunnel } from './http-connect/tunnel.ts'

export type { ProxyTls } from './http-connect/proxy-tls.ts'

const log = debug('cio:httpConnect')

/** Options of {@link httpConnect}. */
export interface HttpConnectOptions {
  /**
   * The host name or address of the proxy.
   *
   * @default 'localhost'
   */
  readonly host?: string
  /**
   * The proxy's port.
   *
   * @default 8080
   */
  readonly port?: number
  /**
   * Connects to the proxy over TLS: `true`, or TLS options. Without it, the username, the password
   * and the target's name are readable on the network.
   *
   * @default false
   */
  readonly tls?: boolean | ProxyTls
  /**
   * The username for basic authentication; it must not contain a colon.
   *
   * @default none
   */
  readonly username?: string
  /**
   * The password for basic authentication. It appears in no error and no log.
   *
   * @default none
   */
  readonly password?: string
  /**
   * Additional headers for the proxy.
   *
   * @default none
   */
  readonly headers?: Readonly<Record<string, string>>
}

const known = ['host', 'port', 'tls', 'username', 'password', 'headers']

/**
 * HTTP CONNECT proxy: connects through an HTTP proxy.
 *
 * The proxy resolves host names. TLS to the server passes through the proxy from end to end, and
 * `secure` verifies the requested host. TLS to the proxy itself is a separate layer below; the
 * proxy's certificate is never `ctx.peer`. Many proxies allow only port 443. `connectTimeout`
 * limits the time for the proxy and the target together.
 *
 * To chain proxies, register a second `httpConnect` or a `socks5` after it: Cio reaches the second
 * through the first.
 *
 * @pipelines client
 * @order before `connect`
 * @adds nothing; puts `createConnection` into `ctx.options`
 * @rejects `ERR_CIO_PROXY` (remote): the proxy did not connect (the message has its status), or
 *   does not speak HTTP; `ERR_CIO_PROXY_AUTH` (local): the proxy requires authentication, or other
 *   credentials; `ERR_CIO_REJECTED` (remote): the proxy's certificate is not accepted; Node's own
 *   error if the proxy cannot be reached
 * @throws `ERR_CIO_OPTION`: an option is unknown or invalid
 * @see RFC 9110, section 9.3.6
 *
 * @example
 * import { Cio, httpConnect } from 'cio'
 *
 * const app = new Cio().useClient(httpConnect({ host: 'localhost', port: 8080 }))
 * app.on('connect', (ctx) => console.log(`connected to ${ctx.remote}`))
 */
export function httpConnect(options: HttpConnectOptions = {}): Middleware<ClientContext> {
  checkOptionNames('httpConnect', options, known)
  const { host: given = 'localhost', port = 8080, username, password, tls, headers } = options
  if (typeof given !== 'string' || given === '') {
    throw optionError('httpConnect', 'host', 'a name', given)
  }
  checkPort('httpConnect', port)
  if (username !== undefined && (typeof username !== 'string' || username.includes(':'))) {
    throw optionError('httpConnect', 'username', 'a string without a colon', username)
  }
  // The message must not contain the value.
  if (password !== undefined && typeof password !== 'string') {
    throw new CioError('ERR_CIO_OPTION', 'httpConnect: `password` must be a string')
  }
  checkObject('httpConnect', 'headers', headers)
  if (typeof tls !== 'boolean') checkObject('httpConnect', 'tls', tls)
  if (typeof tls === 'object') checkTlsOptions('httpConnect', tls)
  const proxy = { ...options, host: withoutBrackets(given), port }

  return defineMiddleware<ClientContext>(
    { name: 'httpConnect', pipelines: ['client'], before: 'connect' },
    function httpConnect(ctx, next) {
      return viaProxy(ctx, proxy, next, async (raw, target) => {
        const stream = tls ? await startTls(raw, proxy, tls === true ? {} : tls) : raw
        log('%d asks for %s', ctx.id, placeOf(target))
        return tunnel(stream, target, proxy)
      })
    },
  )
}

export { httpConnect as default }
