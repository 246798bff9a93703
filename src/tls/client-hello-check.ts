/**
 * Checks that the second ClientHello requests the same name as the first.
 *
 * A server that asks for another key share (HelloRetryRequest) gets a second ClientHello, and RFC
 * 8446 (section 4.1.2) lets the client change little in it. OpenSSL does not compare the two. Node
 * chooses the certificate and the CAs by the first, and gives out the name of the second. So Cio
 * keeps the values that decided, and compares them when the handshake is done.
 */

import type { TLSSocket } from 'node:tls'
import { quote } from '../errors.ts'
import { handshakeError } from './handshake-errors.ts'
import { serverNameOf } from './sni.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** The requests of a first ClientHello. */
interface Asked {
  readonly servername: string | null
  readonly alpn: readonly string[]
}

const names = new WeakMap<TLSSocket, string>()

/** Notes the name for which a certificate was selected. */
export function keepName(socket: TLSSocket, name: string): void {
  names.set(socket, name)
}

/**
 * Compares the final requests of a client with those of its first ClientHello. `byName` says
 * whether SNI selected the certificate.
 *
 * @throws `ERR_CIO_HANDSHAKE` (remote): it has changed
 */
export function checkRequest(ctx: StreamContext, socket: TLSSocket, byName: boolean): void {
  const changed = changedRequest(ctx, socket, byName)
  if (changed !== undefined) throw handshakeError(ctx.remote, changed, null)
}

/** Describes what has changed; undefined if nothing has. */
function changedRequest(
  ctx: StreamContext,
  socket: TLSSocket,
  byName: boolean,
): string | undefined {
  // Of `route`.
  const { clientHello: hello } = ctx as { readonly clientHello?: Asked | null }
  // Before TLS 1.3 there is one ClientHello; a resumed session has its earlier name.
  if ((!byName && !hello) || socket.getProtocol() !== 'TLSv1.3') return undefined
  const { servername, alpnProtocol } = socket as TLSSocket & { servername?: string | false | null }
  const now = servername || ''
  const chosen = names.get(socket) ?? ''
  // OpenSSL may skip the selection when a session is resumed.
  const isChosen = byName && (names.has(socket) || !socket.isSessionReused())
  if (isChosen && chosen !== now) return switched(chosen, now)
  if (!hello) return undefined
  if (hello.servername !== serverNameOf(now)) return switched(hello.servername ?? '', now)
  if (!alpnProtocol || hello.alpn.includes(alpnProtocol)) return undefined
  return `it offered ${quote(alpnProtocol)} by ALPN only after the choice was made`
}

function switched(chosen: string, now: string): string {
  return `it asked for the name ${quote(chosen)}, and for ${quote(now)} once the choice was made`
}
