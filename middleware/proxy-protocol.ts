import { isIP } from 'node:net'
import { nothingSaid } from '../src/connection-end.ts'
import { debug } from '../src/debug.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { type Networks, compileNetworks } from '../src/identity/networks.ts'
import { checkCount, checkDuration, checkFlag, checkOptionNames } from '../src/options.ts'
import type { Proxied } from './proxy-protocol/proxied.ts'
import { readHeader } from './proxy-protocol/read-header.ts'
import { refusal, rejectHeader } from './proxy-protocol/untrusted-sender.ts'

export type { Proxied, ProxiedSsl, ProxyTlv } from './proxy-protocol/proxied.ts'

/** Options of {@link proxyProtocol}. */
export interface ProxyProtocolOptions {
  /**
   * The trusted senders: addresses, networks such as `'10.0.0.0/8'`, and `'unix'` for every client
   * of a Unix socket that the server listens on. An empty list trusts no sender.
   */
  readonly trusted: readonly string[]
  /**
   * Milliseconds until the whole header has arrived. `Infinity` waits for ever.
   *
   * @default 5_000
   */
  readonly timeout?: number
  /**
   * Maximum bytes of a version 2 header, at least 16. A version 1 header always has at most 107.
   *
   * @default 4_096
   */
  readonly maxSize?: number
  /**
   * Rejects untrusted senders at once, before reading. By default Cio accepts such a sender with
   * its own address, unless it begins with a header.
   *
   * @default false
   */
  readonly required?: boolean
}

/** What {@link proxyProtocol} adds. */
export interface ProxyProtocolContext {
  /** The content of a trusted sender's header; null if the sender is not trusted. */
  proxied: Proxied | null
}

const log = debug('cio:proxyProtocol')
const defaultTimeout = 5_000
const defaultMaxSize = 4_096
const leastMaxSize = 16
const unixSocket = 'unix'

/**
 * PROXY protocol (HAProxy, nginx, AWS NLB): the client address behind a balancer.
 *
 * Only the address of the sender decides whether Cio reads a header, never the bytes it sends. A
 * trusted sender has to send a header of version 1 or 2, or Cio rejects it. An untrusted sender
 * that begins with a header is rejected; all others are accepted at once, with their own address.
 *
 * From then on, `ctx.address` and `ctx.remote` are those of the client. `ctx.socket` remains the
 * socket of the sender, and `ctx.peer` the identity that TLS has verified. If the header does not
 * name the client (`PROXY UNKNOWN`), `ctx.address` is null, so that no rule by address matches. A
 * common name in the header is a claim of the sender: `ctx.proxied.ssl.cn`.
 *
 * @pipelines connection
 * @order before `secure`, and before `limit`, `route` and `startTls`: the header comes first, and
 *   limits count clients, not balancers
 * @adds `ctx.proxied`, or null; sets `ctx.forwardedFor`, and with it `ctx.address`
 * @rejects `ERR_CIO_PROXY_HEADER` (remote): a trusted sender sends no header, an incomplete or a
 *   malformed one; `ERR_CIO_PROXY_HEADER_TIMEOUT` (remote): it takes too long; `ERR_CIO_REJECTED`
 *   (remote): an untrusted sender sends a header, or `required` is set; emits `reject`
 * @throws `ERR_CIO_OPTION`: `trusted` is not a list of networks, or an option is out of its range
 * @see https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt sections 2 and 5
 *
 * @example
 * import { Cio, proxyProtocol } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(proxyProtocol({ trusted: ['10.0.0.0/8', '::1'] }))
 *   .useConnection((ctx) => ctx.stream.write(`hello ${ctx.address}\n`))
 * const server = await app.listen(0)
 * await server.close()
 */
export function proxyProtocol(
  options: ProxyProtocolOptions,
): Middleware<ConnectionContext, ProxyProtocolContext> {
  checkOptionNames('proxyProtocol', options, ['trusted', 'timeout', 'maxSize', 'required'])
  const { timeout = defaultTimeout, maxSize = defaultMaxSize, required = false } = options
  checkDuration('proxyProtocol', 'timeout', timeout)
  checkCount('proxyProtocol', 'maxSize', maxSize, leastMaxSize)
  checkFlag('proxyProtocol', 'required', required)
  const isTrusted = compileTrust(options.trusted)

  return defineMiddleware<ConnectionContext, ProxyProtocolContext>(
    {
      name: 'proxyProtocol',
      pipelines: ['connection'],
      before: ['secure', 'limit', 'route', 'startTls'],
    },
    async function proxyProtocol(ctx, next) {
      ctx.proxied = null
      if (isTrusted(ctx)) {
        const proxied = await readHeader(ctx, timeout, maxSize)
        ctx.proxied = proxied
        if (proxied.command === 'proxy') ctx.forwardedFor = originOf(proxied)
        if (log.enabled) log('%d %s v%d, %s', ctx.id, proxied.command, proxied.version, ctx.remote)
        return next()
      }
      if (wasReset(ctx)) throw nothingSaid(ctx.remote, null)
      if (required) throw refusal(ctx, 'its address is not in `trusted`')
      const stop = rejectHeader(ctx)
      try {
        if (!ctx.isClosed) await next()
      } finally {
        stop()
      }
    },
  )
}

/** A client of a Unix socket has no address, and the sender's address is not that of the client. */
function originOf({ source }: Proxied): ConnectionContext['forwardedFor'] {
  return source && isIP(source.address) !== 0 ? source : 'unknown'
}

function compileTrust(trusted: readonly string[]): (ctx: ConnectionContext) => boolean {
  const isList = Array.isArray(trusted)
  const networks = isList ? trusted.filter((network) => network !== unixSocket) : trusted
  const isTrusted: Networks = compileNetworks('proxyProtocol', 'trusted', networks)
  const unix = isList && trusted.includes(unixSocket)
  return ({ address, forwardedFor, server }) => {
    // A missing address alone proves nothing: a TCP socket has none either after a reset.
    if (address === null)
      return unix && forwardedFor === null && typeof server?.address === 'string'
    return isTrusted(address)
  }
}

/**
 * Whether a TCP connection has lost its address: a health check that resets at once. It may have
 * sent a header, and would otherwise be accepted without any address.
 */
function wasReset({ address, server }: ConnectionContext): boolean {
  return address === null && typeof (server?.address ?? '') === 'object'
}

export { proxyProtocol as default }
