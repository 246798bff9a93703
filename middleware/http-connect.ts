import debug from 'debug'
import { request } from 'node:http'
import type { Duplex } from 'node:stream'
import { type ConnectionOptions as NodeTlsOptions, connect as connectTls } from 'node:tls'
import type { ClientContext } from '../src/client/client.ts'
import { type ConnectOptions, placeOf } from '../src/client/connect-options.ts'
import { CioError, quote } from '../src/errors.ts'
import { askedHost, askedName, withoutBrackets } from '../src/streams/host-name.ts'
import { checkTlsOptions } from '../src/lifecycle/known-options.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkOptionNames, optionError } from '../src/options.ts'
import { viaProxy } from '../src/client/via-proxy.ts'
import { type CertFilesOptions, loadCerts } from '../src/tls/certificates.ts'
import { Rest } from './http-connect/rest.ts'

const log = debug('cio:httpConnect')

/** TLS options for a proxy: certificates as `certs` takes them, and Node's options. */
export interface ProxyTls
  extends
    CertFilesOptions,
    Omit<
      NodeTlsOptions,
      keyof CertFilesOptions | 'socket' | 'host' | 'port' | 'path' | 'timeout'
    > {}

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

interface Proxy extends HttpConnectOptions {
  readonly host: string
  readonly port: number
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
  const { host: given = 'localhost', port = 8080, username } = options
  checkOptionNames('httpConnect', options, known)
  if (typeof given !== 'string' || given === '') {
    throw optionError('httpConnect', 'host', 'a name', given)
  }
  checkCount('httpConnect', 'port', port, 1)
  if (username !== undefined && (typeof username !== 'string' || username.includes(':'))) {
    throw optionError('httpConnect', 'username', 'a string without a colon', username)
  }
  if (typeof options.tls === 'object') checkTlsOptions('httpConnect', options.tls)
  const proxy = { ...options, host: withoutBrackets(given), port }

  return defineMiddleware<ClientContext>(
    { name: 'httpConnect', before: 'connect' },
    function httpConnect(ctx, next) {
      return viaProxy(ctx, proxy, next, async (raw, target) => {
        const stream = proxy.tls ? await startTls(raw, proxy) : raw
        log('%d asks for %s', ctx.id, placeOf(target))
        return tunnel(stream, target, proxy)
      })
    },
  )
}

async function startTls(raw: Duplex, { host, port, tls }: Proxy): Promise<Duplex> {
  const options = typeof tls === 'object' ? tls : {}
  const material = await loadCerts(options)
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      ...(options as object),
      ...(material as object),
      ...askedName({ host, ...options }),
      socket: raw,
      // Missing in Node's types of `tls.connect`.
      ...({ allowHalfOpen: true } as object),
    })
    socket.on('error', (cause) => {
      raw.destroy()
      const refused = Boolean(socket.authorizationError)
      reject(
        new CioError(
          refused ? 'ERR_CIO_REJECTED' : 'ERR_CIO_PROXY',
          refused
            ? `the certificate of the HTTP proxy ${placeOf({ host, port })} is not accepted: ${cause.message}`
            : `the handshake with the HTTP proxy ${placeOf({ host, port })} failed: ${cause.message}`,
          { fault: 'remote', cause, ...(refused && { end: 'untrusted' }) },
        ),
      )
    })
    socket.once('close', () => reject(proxyError({ host, port }, 'it closed the connection')))
    socket.once('secureConnect', () => resolve(socket))
  })
}

async function tunnel(stream: Duplex, target: ConnectOptions, proxy: Proxy): Promise<Duplex> {
  const authority = placeOf({ host: askedHost(target.host), port: target.port ?? 0 })
  let reply = await requestTunnel(stream, authority, proxy)
  for (let interim = 0; isInterim(reply); interim++) {
    if (interim === maxInterim) {
      throw proxyError(proxy, `it sends more than ${maxInterim} interim responses`, authority)
    }
    const rest = new Rest(stream, reply.head)
    const next = await requestTunnel(rest, authority, proxy)
    reply = { ...next, head: rest.release(next.head) }
  }
  const { status, head } = reply
  if (status >= 200 && status < 300) {
    if (head.length > 0) stream.unshift(head)
    return stream
  }
  const why = `it answers ${status} ${quote(reply.message)}`
  throw status === 407 ? authenticationError(proxy, why) : proxyError(proxy, why, authority)
}

/** A response of the proxy, and the bytes after it. */
interface Reply {
  readonly status: number
  readonly message: string
  readonly head: Buffer
}

/** The maximum number of interim responses that are skipped. */
const maxInterim = 8

/** Whether another response follows. Node treats any response to CONNECT as the last one. */
function isInterim({ status }: Reply): boolean {
  return status >= 100 && status < 200 && status !== 101
}

function requestTunnel(stream: Duplex, authority: string, proxy: Proxy): Promise<Reply> {
  const { username, password = '' } = proxy
  const basic = Buffer.from(`${username}:${password}`).toString('base64')
  return new Promise((resolve, reject) => {
    const connectRequest = request({
      method: 'CONNECT',
      path: authority,
      headers: {
        ...proxy.headers,
        host: authority,
        ...(username !== undefined && { 'proxy-authorization': `Basic ${basic}` }),
      },
      createConnection: () => stream,
    })
    connectRequest.once('error', (cause) =>
      reject(proxyError(proxy, cause.message, authority, cause)),
    )
    connectRequest.once(
      'connect',
      ({ statusCode = 0, statusMessage = '' }, _socket, head: Buffer) => {
        resolve({ status: statusCode, message: statusMessage, head })
      },
    )
    connectRequest.end()
  })
}

function authenticationError(proxy: Proxy, why: string): CioError {
  return new CioError(
    'ERR_CIO_PROXY_AUTH',
    `the HTTP proxy ${placeOf(proxy)} requires authentication: ${why}; check \`username\` and \`password\``,
  )
}

function proxyError(
  proxy: { readonly host: string; readonly port: number },
  why: string,
  target = 'anything',
  cause?: Error,
): CioError {
  return new CioError(
    'ERR_CIO_PROXY',
    `the HTTP proxy ${placeOf(proxy)} did not connect to ${target}: ${why}`,
    { fault: 'remote', cause },
  )
}

export { httpConnect as default }
