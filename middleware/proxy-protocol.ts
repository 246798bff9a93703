import debug from 'debug'
import { isIP } from 'node:net'
import type { Duplex } from 'node:stream'
import { nothingSaid } from '../src/connection-end.ts'
import type { ConnectionContext } from '../src/lifecycle/connection.ts'
import { CioError, asError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { type Networks, compileNetworks } from '../src/identity/networks.ts'
import { checkCount, checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { HeaderReader, beginsHeader } from './proxy-protocol/header-reader.ts'
import type { Proxied } from './proxy-protocol/proxied.ts'

export type { Proxied, ProxiedSsl, ProxyTlv } from './proxy-protocol/proxied.ts'

/** Options of {@link proxyProtocol}. */
export interface ProxyProtocolOptions {
  /**
   * Whose headers are believed: addresses, networks such as `'10.0.0.0/8'`, and `'unix'` for
   * whoever connects to a Unix socket that the server listens on. An empty list trusts nobody.
   */
  readonly trusted: readonly string[]
  /**
   * Milliseconds for a whole header to come. `Infinity` waits for ever.
   *
   * @default 5_000
   */
  readonly timeout?: number
  /**
   * Bytes of a whole header of version 2, at least 16. Version 1 has at most 107 of them by itself.
   *
   * @default 4_096
   */
  readonly maxSize?: number
  /**
   * Turns away who is not trusted at once, unread. By default such a sender may come in as itself,
   * as long as it does not begin with a header.
   *
   * @default false
   */
  readonly required?: boolean
}

/** What {@link proxyProtocol} adds. */
export interface ProxyProtocolContext {
  /** What a trusted sender says about the connection; null where it was not one. */
  proxied: Proxied | null
}

const log = debug('cio:proxyProtocol')
const defaultTimeout = 5_000
const defaultMaxSize = 4_096
const leastMaxSize = 16
const unixSocket = 'unix'

/**
 * Reads the PROXY header of a load balancer: whom it relays.
 *
 * Who sends is decided by its address alone, never by what it sends. A trusted sender has to send a
 * header of version 1 or 2, or it is turned away. What anybody else sends is not believed: one that
 * begins with a header is turned away; others come in under their own address, without a wait.
 *
 * `ctx.address` and `ctx.remote` are those of the client from then on; `ctx.socket` remains the socket
 * of the sender, and `ctx.peer` the identity that TLS has verified. If the header does not say which
 * client it is (`PROXY UNKNOWN`), `ctx.address` is null, so that no rule by address holds. A common
 * name in the header is the word of the sender: `ctx.proxied.ssl.cn`.
 *
 * @pipelines connection
 * @order before `secure`, and before `limit`, `route` and `startTls`: the header comes before all
 *   else, and limits count clients, not balancers
 * @adds `ctx.proxied`, or null; sets `ctx.forwardedFor`, and with it `ctx.address`
 * @rejects `ERR_CIO_PROXY_HEADER` (remote): a trusted sender sends no header, a part of one, or a
 *   malformed one; `ERR_CIO_PROXY_HEADER_TIMEOUT` (remote): it takes too long; `ERR_CIO_REJECTED`
 *   (remote): a sender that is not trusted sends one, or there is `required`, told by `reject`
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
  if (typeof required !== 'boolean') {
    throw optionError('proxyProtocol', 'required', 'true or false', required)
  }
  const isTrusted = compileTrust(options.trusted)

  return defineMiddleware<ConnectionContext, ProxyProtocolContext>(
    { name: 'proxyProtocol', before: ['secure', 'limit', 'route', 'startTls'] },
    async function proxyProtocol(ctx, next) {
      ctx.proxied = null
      if (isTrusted(ctx)) {
        const proxied = await header(ctx, timeout, maxSize)
        ctx.proxied = proxied
        if (proxied.command === 'proxy') ctx.forwardedFor = originOf(proxied)
        if (log.enabled) log('%d %s v%d, %s', ctx.id, proxied.command, proxied.version, ctx.remote)
        return next()
      }
      if (wasReset(ctx)) throw nothingSaid(ctx.remote, null)
      if (required) throw refusal(ctx, 'it is not among the trusted senders')
      const stop = watch(ctx)
      try {
        if (!ctx.isClosed) await next()
      } finally {
        stop()
      }
    },
  )
}

/** A client of a Unix socket has no address, and the sender's is not its own. */
function originOf({ source }: Proxied): ConnectionContext['forwardedFor'] {
  return source && isIP(source.address) !== 0 ? source : 'unknown'
}

function compileTrust(trusted: readonly string[]): (ctx: ConnectionContext) => boolean {
  const isList = Array.isArray(trusted)
  const networks = isList ? trusted.filter((network) => network !== unixSocket) : trusted
  const isTrusted: Networks = compileNetworks('proxyProtocol', 'trusted', networks)
  const unix = isList && trusted.includes(unixSocket)
  return ({ address, forwardedFor, server }) => {
    // No address alone proves nothing: a TCP socket that was reset has none either.
    if (address === null)
      return unix && forwardedFor === null && typeof server?.address === 'string'
    return isTrusted(address)
  }
}

/**
 * Whether it comes by TCP and has no address any more: a health check, which resets at once. It has
 * sent a header maybe, and would come in as nobody.
 */
function wasReset({ address, server }: ConnectionContext): boolean {
  return address === null && typeof (server?.address ?? '') === 'object'
}

/** Reads a header, and puts back what came with it. */
function header(ctx: ConnectionContext, timeout: number, maxSize: number): Promise<Proxied> {
  const { stream, remote } = ctx
  const gathering = new HeaderReader(maxSize)
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(timer)
      stream.off('readable', read)
      stream.off('end', end)
      stream.off('close', end)
    }
    const fail = (error: Error): void => {
      settle()
      reject(error)
    }
    const read = (): void => {
      try {
        const gathered = gathering.takeFrom(stream)
        if (!gathered) return
        settle()
        // At once: an end that has come as well is told in a moment, if nothing is left to read.
        if (gathered.rest.length > 0) stream.unshift(gathered.rest)
        ctx.preambleSize = gathering.size - gathered.rest.length
        resolve(gathered.proxied)
      } catch (thrown) {
        fail(headerError(`${remote} sent a malformed PROXY header: ${asError(thrown).message}`))
      }
    }
    const end = (): void => {
      // A health check that only connects.
      if (gathering.size === 0) return fail(nothingSaid(remote, ctx.broken ?? null))
      const came = `${gathering.size} bytes`
      fail(ctx.broken ?? headerError(`${remote} left before its PROXY header: ${came} came`))
    }
    const timer =
      timeout === Infinity ? undefined : setTimeout(() => fail(late(remote, timeout)), timeout)

    if (stream.readableEnded || stream.destroyed) return end()
    stream.on('readable', read)
    stream.on('end', end)
    // Before those that end the run because it closed.
    stream.prependListener('close', end)
  })
}

/**
 * Cuts off a sender that begins with a header. Looks at what comes as it comes, so that nobody waits
 * for it, and nothing is read that the application has not asked for. Bytes that TLS takes from the
 * socket itself do not pass here; a header is no handshake, and ends it.
 */
function watch(ctx: ConnectionContext): () => void {
  const { stream } = ctx
  const push = stream.push.bind(stream)
  let beginning = Buffer.alloc(0)
  const stop = (): void => {
    if (stream.push === look) stream.push = push
  }
  const isHeader = (chunk: unknown): boolean => {
    if (!Buffer.isBuffer(chunk)) return false
    beginning = Buffer.concat([beginning, chunk.subarray(0, longestBeginning)])
    const begins = beginsHeader(beginning)
    if (begins !== undefined) stop()
    if (!begins) return false
    ctx.destroy(refusal(ctx, 'it sent a PROXY header, and is not among the trusted senders'))
    return true
  }
  const look: Duplex['push'] = (chunk, encoding) => !isHeader(chunk) && push(chunk, encoding)
  stream.push = look
  if (stream.readableLength > 0) {
    const pieces: Buffer[] = []
    for (let piece; (piece = stream.read() as Buffer | null) !== null;) pieces.push(piece)
    const came = Buffer.concat(pieces)
    if (!isHeader(came)) stream.unshift(came)
  }
  return stop
}

const longestBeginning = 12

function refusal({ remote }: ConnectionContext, why: string): CioError {
  const message = `${remote} was turned away by \`proxyProtocol\`: ${why}`
  return new CioError('ERR_CIO_REJECTED', message, { fault: 'remote' })
}

function headerError(message: string): CioError {
  return new CioError('ERR_CIO_PROXY_HEADER', message, { fault: 'remote' })
}

function late(remote: string, timeout: number): CioError {
  const message = `the PROXY header of ${remote} did not come within ${timeout} ms`
  return new CioError('ERR_CIO_PROXY_HEADER_TIMEOUT', message, { fault: 'remote' })
}

export { proxyProtocol as default }
