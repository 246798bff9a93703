/** The address of one end of a connection, and its text form. */

import type { Socket } from 'node:net'
import { canonicalAddress } from '../identity/peer.ts'

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

function endpoint(address: string | undefined, port = 0): Endpoint | null {
  return address === undefined ? null : { address: canonicalAddress(address), port }
}
