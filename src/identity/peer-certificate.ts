/** The certificates that the other side of a TLS socket presented, verified or not. */

import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { type DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { element, sequence } from './der.ts'

const presented = new WeakMap<TLSSocket, Buffer>()

/**
 * Keeps the certificate of a server, in DER, as its name was checked. An application that calls
 * `getPeerX509Certificate()` takes it out of Node's chain, and the next call gets an intermediate.
 */
export function keepServerCertificate(socket: TLSSocket, certificate: Buffer): void {
  presented.set(socket, certificate)
}

/**
 * The peer's certificate, in DER; undefined if it presented none. Read once.
 *
 * Cio never calls `getPeerX509Certificate()`, since each call leaks the memory of the whole chain
 * (docs/decisions/0016-a-call-that-leaks.md).
 */
export function presentedCertificate(socket: TLSSocket): Buffer | undefined {
  const known = presented.get(socket)
  if (known) return known
  // Reading the session takes a third of the time, and on a resumed session Node gives a client no
  // certificate. The session is null after the socket is destroyed.
  const certificate = sessionCertificate(socket) ?? socket.getPeerCertificate(false)?.raw
  if (certificate) presented.set(socket, certificate)
  return certificate
}

const longestChain = 16

/**
 * The intermediates of a certificate, as far as each issued the one before; none on a resumed
 * session. Each call reads them again, at a cost that grows with the chain.
 */
export function presentedIssuers(socket: TLSSocket): X509Certificate[] {
  const issuers: X509Certificate[] = []
  let one: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  while (one && one.issuerCertificate !== one && issuers.length < longestChain) {
    one = one.issuerCertificate
    if (one?.raw) issuers.push(new X509Certificate(one.raw))
  }
  return issuers
}

/**
 * The peer's certificate in DER, if it was verified. On Node 20 a resumed TLS 1.3 session is
 * `authorized` even without a certificate.
 */
export function verifiedCertificate(socket: Socket | null): Buffer | undefined {
  return socket instanceof TLSSocket && socket.authorized ? presentedCertificate(socket) : undefined
}

/**
 * Whether a certificate was presented and verified. Node's verdict is enough on a full handshake
 * without a pre-shared key, so the certificate is not read then. With such a key there is none, and
 * Node reports it as authorized in TLS 1.2.
 */
export function hasVerifiedCertificate(
  socket: TLSSocket,
  { pskCallback }: { readonly pskCallback?: unknown },
): boolean {
  const isEnough = socket.authorized && !socket.isSessionReused() && !pskCallback
  return isEnough || verifiedCertificate(socket) !== undefined
}

function sessionCertificate(socket: TLSSocket): Buffer | undefined {
  const session = socket.getSession()
  return session && certificateOf(session)
}

// SSL_SESSION_ASN1 of OpenSSL (ssl/ssl_asn1.c): `peer`, explicitly tagged [3].
const peer = 0xa3

/**
 * The certificate within a serialized OpenSSL session; newer versions of Node put a text before it.
 */
function certificateOf(session: Buffer): Buffer | undefined {
  for (let start = session.indexOf(sequence); start >= 0;) {
    const whole = element(session, start)
    if (whole?.end === session.length) {
      for (let at = whole.start; at < whole.end;) {
        const part = element(session, at)
        if (!part) return undefined
        if (part.tag === peer) return wholeElement(session.subarray(part.start, part.end))
        at = part.end
      }
    }
    start = session.indexOf(sequence, start + 1)
  }
  return undefined
}

function wholeElement(der: Buffer): Buffer | undefined {
  return element(der, 0)?.end === der.length ? der : undefined
}
