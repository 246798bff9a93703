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

function endpoint(address: string | undefined, port = 0): Endpoint | null {
  return address === undefined ? null : { address: canonicalAddress(address), port }
}
