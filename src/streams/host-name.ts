/** Host names: as they are given, and as TLS and proxies are asked for them. */

import { isIP, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'

/** A host without the brackets that an IPv6 address has in a URL. */
export function withoutBrackets(host: string): string {
  const inner = host.slice(1, -1)
  return host.startsWith('[') && host.endsWith(']') && isIPv6(inner) ? inner : host
}

/**
 * A host as TLS and proxies are asked for it: in ASCII, without the dot of the root and without
 * brackets. No host is `localhost`, as in Node.
 */
export function askedHost(host = ''): string {
  const bare = withoutBrackets(host || 'localhost')
  if (isIP(bare) !== 0) return bare
  const name = bare.replace(/\.$/, '')
  // Empty for what is no host name; the resolver or the other side says what is wrong with it.
  return domainToASCII(name) || name
}

/** What a TLS client asks a server for, and checks its certificate against. */
export interface AskedName {
  /** The name of the extension SNI; undefined where there is none to send, as for an address. */
  readonly servername: string | undefined
  /** The name or address that the certificate has to be for. */
  readonly host: string
}

/** The names of a handshake. An empty `servername` sends none, as in Node. */
export function askedName(options: {
  readonly host?: string | undefined
  readonly servername?: string | undefined
}): AskedName {
  const { servername } = options
  const host = askedHost(servername || options.host)
  return { host, servername: servername === '' || isIP(host) !== 0 ? undefined : host }
}
