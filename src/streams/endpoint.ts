/** The address of one end of a connection, and its text form. */

import { type Socket, SocketAddress, isIPv4, isIPv6 } from 'node:net'

/** One end of a connection. */
export interface Endpoint {
  /** An IP address in canonical form, or the path of a Unix socket. */
  readonly address: string
  /** 0 if there is none. */
  readonly port: number
}

/** The remote end of a socket, its address in canonical form; null without an address. */
export function remoteEndpoint(socket: Socket | null): Endpoint | null {
  return endpoint(socket?.remoteAddress, socket?.remotePort)
}

/** The local end of a socket, its address in canonical form; null without an address. */
export function localEndpoint(socket: Socket | null): Endpoint | null {
  return endpoint(socket?.localAddress, socket?.localPort)
}

/** An endpoint as `address:port`, for messages. */
export function formatEndpoint({ address, port }: Endpoint): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** The canonical form of an address: IPv6 shortened and in lower case, IPv4-mapped IPv6 as IPv4. */
export function canonicalAddress(address: string): string {
  // Node's own tests are regular expressions, and each connection may ask.
  if (!address.includes(':') || !isIPv6(address)) return address
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address.toLowerCase()
  const mapped = canonical.startsWith('::ffff:') ? canonical.slice('::ffff:'.length) : ''
  return isIPv4(mapped) ? mapped : canonical
}

/**
 * The network of an address, to cut or to group addresses: /24 of IPv4, /64 of IPv6. Other texts, such
 * as the path of a Unix socket, remain as they are.
 *
 * A /64 is one link: the second half of an IPv6 address is chosen by the host (RFC 4291, 2.5.1), which
 * may change it for each connection (RFC 8981). A shorter prefix would group neighbours: a site of a
 * customer gets a /64 at least, and seldom a /48 (RFC 6177).
 *
 * @param address In canonical form
 */
export function networkOf(address: string): string {
  if (isIPv4(address)) return `${address.slice(0, address.lastIndexOf('.'))}.0/24`
  // Node's own test is a large regular expression; few other texts have a colon.
  if (!address.includes(':') || !isIPv6(address)) return address
  const groups = groupsOf(address).slice(0, 4)
  while (groups.at(-1) === '0') groups.pop()
  return `${groups.join(':')}::/64`
}

/** The eight groups of an IPv6 address. */
export function groupsOf(address: string): string[] {
  const plain = address.includes('.') ? address.replace(dotted, hexOf) : address
  const [head = '', tail] = plain.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail === undefined) return groups
  const after = tail === '' ? [] : tail.split(':')
  const zeros = 8 - groups.length - after.length
  return [...groups, ...Array<string>(Math.max(0, zeros)).fill('0'), ...after]
}

const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/

function hexOf(_dotted: string, ...bytes: unknown[]): string {
  const [a, b, c, d] = bytes.map(Number) as [number, number, number, number]
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
}

function endpoint(address: string | undefined, port = 0): Endpoint | null {
  return address === undefined ? null : { address: canonicalAddress(address), port }
}
