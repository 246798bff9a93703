/** The header for a connection that is relayed. */

import { TLSSocket } from 'node:tls'
import { localEndpoint, remoteEndpoint } from '../../src/streams/endpoint.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { Proxied } from '../proxy-protocol/proxied.ts'
import type { ProxyHeader } from './encode.ts'

/**
 * The header for a connection: its endpoints, its TLS, and the content of a header that it
 * received.
 */
export function headerFor(ctx: StreamContext & { readonly proxied?: Proxied | null }): ProxyHeader {
  const { socket, forwardedFor, proxied } = ctx
  const ends = {
    source: forwardedFor === 'unknown' ? null : (forwardedFor ?? remoteEndpoint(socket)),
    destination: (forwardedFor && proxied?.destination) ?? localEndpoint(socket),
  }
  if (!(socket instanceof TLSSocket)) return { ...proxied, ...ends, command: 'proxy' }
  return {
    ...ends,
    uniqueId: proxied?.uniqueId ?? null,
    alpn: socket.alpnProtocol || null,
    authority: nameAskedFor(socket),
    ssl: tls(ctx, socket),
  }
}

/** Omits an unverified certificate: the name would look like a verified one. */
function tls({ peer }: StreamContext, socket: TLSSocket): NonNullable<ProxyHeader['ssl']> {
  return {
    client: {
      ssl: true,
      certConn: peer !== null && !socket.isSessionReused(),
      certSess: peer !== null,
    },
    verify: peer ? 0 : 1,
    version: socket.getProtocol(),
    cn: peer?.name ?? null,
    cipher: socket.getCipher().name,
  }
}

function nameAskedFor(socket: TLSSocket): string | null {
  const { servername } = socket as TLSSocket & { readonly servername?: string | false | null }
  return servername || null
}
