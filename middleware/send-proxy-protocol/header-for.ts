/** What there is to say about a connection that is relayed. */

import { TLSSocket } from 'node:tls'
import { localEndpoint, remoteEndpoint } from '../../src/streams/endpoint.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { Proxied } from '../proxy-protocol/proxied.ts'
import type { ProxyHeader } from './encode.ts'

/** The header that relays a connection: its ends, its TLS, and what a header of its own has said. */
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

/** A certificate that was not verified is not told of: the peer's name would pass for one that was. */
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
