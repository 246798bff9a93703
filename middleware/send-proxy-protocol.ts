import { localEndpoint, remoteEndpoint } from '../src/streams/endpoint.ts'
import type { ClientContext } from '../src/client/client.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkOptionNames, optionError } from '../src/options.ts'
import { atOnce } from '../src/thenable.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { type ProxyHeader, encodeV1, encodeV2 } from './send-proxy-protocol/encode.ts'
import { headerFor } from './send-proxy-protocol/header-for.ts'

export type { ProxyHeader } from './send-proxy-protocol/encode.ts'

/** Options of {@link proxyHeader}. */
export interface ProxyHeaderOptions {
  /**
   * 1 is a line of text with only IP addresses and ports; 2 is binary and has all fields.
   *
   * @default 2
   */
  readonly version?: 1 | 2
  /**
   * Adds a CRC-32C checksum, which receivers may verify. Only in version 2.
   *
   * @default false
   */
  readonly crc32c?: boolean
}

/** Options of {@link sendProxyProtocol}. */
export interface SendProxyProtocolOptions extends ProxyHeaderOptions {
  /**
   * The content of the header, a function that returns it, or the context of the connection to
   * relay.
   *
   * @default the two ends of the client's own connection
   */
  readonly header?: ProxyHeader | StreamContext | ((ctx: ClientContext) => ProxyHeader)
}

/**
 * Sends a PROXY protocol header (HAProxy) before a client's first byte.
 *
 * The header names the client on whose behalf this side connects. It precedes the TLS handshake,
 * and is not encrypted. Send it only to servers that expect it: for any other server it is a syntax
 * error.
 *
 * @pipelines client
 * @order after `connect`, before `secure`
 * @adds nothing
 * @rejects `ERR_CIO_OPTION` (local): the header cannot represent its content
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 * @see https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt section 2
 *
 * @example
 * import { Cio, proxyProtocol, sendProxyProtocol } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(proxyProtocol({ trusted: ['127.0.0.1'] }))
 *   .useConnection((ctx) => ctx.stream.write(`hello ${ctx.address}\n`))
 * const server = await app.listen({ host: '127.0.0.1' })
 *
 * const source = { address: '192.0.2.7', port: 40_000 }
 * const destination = { address: '192.0.2.1', port: 443 }
 * const client = await new Cio()
 *   .useClient(sendProxyProtocol({ header: { source, destination } }))
 *   .connect({ host: '127.0.0.1', port: server.port })
 * for await (const chunk of client) console.log(String(chunk)) // hello 192.0.2.7
 * await server.close()
 */
export function sendProxyProtocol(
  options: SendProxyProtocolOptions = {},
): Middleware<ClientContext> {
  checkOptionNames('sendProxyProtocol', options, ['version', 'crc32c', 'header'])
  const { header = ownEnds, ...encoding } = options
  checkEncoding('sendProxyProtocol', encoding)
  if (header === null || (typeof header !== 'object' && typeof header !== 'function')) {
    throw optionError('sendProxyProtocol', 'header', 'an object or a function', header)
  }

  return defineMiddleware<ClientContext>(
    { name: 'sendProxyProtocol', pipelines: ['client'], after: 'connect', before: 'secure' },
    async function sendProxyProtocol(ctx, next) {
      const { stream } = ctx
      const says =
        typeof header === 'function' ? atOnce('sendProxyProtocol', 'header', header(ctx)) : header
      const bytes = proxyHeader(says, encoding)
      await new Promise<void>((resolve, reject) => {
        stream.write(bytes, (error) => (error ? reject(error) : resolve()))
      })
      return next()
    },
  )
}

/**
 * The bytes of a PROXY header, for given content or for a connection to relay.
 *
 * For a connection, it contains the source address, or the address from a trusted sender, and the
 * TLS details. It contains a common name only if that was verified. Without addresses, as with a
 * Unix socket, the header says that the address is unknown.
 *
 * @throws `ERR_CIO_OPTION`: an option is out of its range, or the header cannot represent its
 *   content
 *
 * @example
 * import { Cio, forward, proxyHeader } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(forward({ host: '10.0.0.2', port: 8_080 }, { header: (ctx) => proxyHeader(ctx) }))
 */
export function proxyHeader(
  of: ProxyHeader | StreamContext,
  options: ProxyHeaderOptions = {},
): Buffer {
  checkOptionNames('proxyHeader', options, ['version', 'crc32c'])
  const { version, crc32c } = checkEncoding('proxyHeader', options)
  if (typeof of !== 'object' || of === null) {
    throw optionError('proxyHeader', 'of', 'an object or a context', of)
  }
  const header = isContext(of) ? headerFor(of) : of
  return version === 1 ? encodeV1(header) : encodeV2(header, crc32c)
}

function checkEncoding(owner: string, options: ProxyHeaderOptions): Required<ProxyHeaderOptions> {
  const { version = 2, crc32c = false } = options
  if (version !== 1 && version !== 2) throw optionError(owner, 'version', '1 or 2', version)
  if (typeof crc32c !== 'boolean') throw optionError(owner, 'crc32c', 'true or false', crc32c)
  return { version, crc32c }
}

function ownEnds({ socket }: ClientContext): ProxyHeader {
  return { source: localEndpoint(socket), destination: remoteEndpoint(socket) }
}

function isContext(of: ProxyHeader | StreamContext): of is StreamContext {
  return 'stream' in of && 'closed' in of
}

export { sendProxyProtocol as default }
