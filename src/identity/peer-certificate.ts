/** The certificate that the other side of a TLS socket presented, verified or not. */

import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { element, sequence } from './der.ts'

const presented = new WeakMap<TLSSocket, X509Certificate>()
const servers = new WeakMap<TLSSocket, Buffer>()

/**
 * Keeps the certificate of a server, in DER, as its name was checked. On a client, Node 20 takes
 * the first certificate out of the chain with every `getPeerX509Certificate()`, so that whoever
 * asks after somebody else is given an intermediate.
 */
export function keepServerCertificate(socket: TLSSocket, certificate: Buffer): void {
  servers.set(socket, certificate)
}

/** The other side's certificate; undefined if it presented none. */
export function presentedCertificate(socket: TLSSocket): X509Certificate | undefined {
  const known = presented.get(socket)
  if (known) return known
  const kept = servers.get(socket)
  const certificate = kept
    ? new X509Certificate(kept)
    : // Of a session that was resumed, a client is told none.
      (socket.getPeerX509Certificate() ?? resumedCertificate(socket))
  if (certificate) presented.set(socket, certificate)
  return certificate
}

function resumedCertificate(socket: TLSSocket): X509Certificate | undefined {
  const session = socket.isSessionReused() ? socket.getSession() : undefined
  if (!session) return undefined
  try {
    return certificateOf(session)
  } catch {
    return undefined
  }
}

// SSL_SESSION_ASN1 of OpenSSL (ssl/ssl_asn1.c): `peer`, explicitly tagged [3].
const peer = 0xa3

/** The certificate within a session as OpenSSL writes it; newer versions of Node put a text before it. */
function certificateOf(session: Buffer): X509Certificate | undefined {
  for (let start = session.indexOf(sequence); start >= 0;) {
    const whole = element(session, start)
    if (whole?.end === session.length) {
      for (let at = whole.start; at < whole.end;) {
        const part = element(session, at)
        if (!part) return undefined
        if (part.tag === peer) return new X509Certificate(session.subarray(part.start, part.end))
        at = part.end
      }
    }
    start = session.indexOf(sequence, start + 1)
  }
  return undefined
}

/**
 * Whether a certificate was presented and verified. The verdict alone is enough on a full handshake
 * without a pre-shared key. With such a key there is no certificate, and Node calls that authorized in
 * TLS 1.2, as Node 20 does a resumed TLS 1.3 session without one.
 */
export function hasVerifiedCertificate(
  socket: TLSSocket,
  { pskCallback }: { readonly pskCallback?: unknown },
): boolean {
  if (!socket.authorized) return false
  if (!socket.isSessionReused() && !pskCallback) return true
  return presentedCertificate(socket) !== undefined
}
