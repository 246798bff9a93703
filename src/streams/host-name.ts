/** Host names: normalised for TLS and for proxies. */

import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'

/**
 * A host without brackets. An IPv6 address has them in a URL; in some configurations every address
 * has them.
 */
export function withoutBrackets(host: string): string {
  const inner = host.slice(1, -1)
  return host.startsWith('[') && host.endsWith(']') && isIP(inner) !== 0 ? inner : host
}

/**
 * A host in the form for TLS and proxies: ASCII, without the trailing dot and without brackets.
 * Without a host, `localhost`, as in Node.
 */
export function askedHost(host = ''): string {
  const bare = withoutBrackets(host || 'localhost')
  if (isIP(bare) !== 0) return bare
  const name = bare.replace(/\.$/, '')
  // Empty for an invalid host name; the resolver or the other side reports the error.
  return domainToASCII(name) || name
}

/** The name that a TLS client requests and verifies. */
export interface AskedName {
  /** The name for SNI; undefined if none is sent, as for an IP address. */
  readonly servername: string | undefined
  /** The name or address that the certificate must have. */
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
