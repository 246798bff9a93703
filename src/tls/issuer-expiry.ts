/**
 * The dates of a certificate and of its issuers, where a session is resumed.
 *
 * OpenSSL repeats the verdict of the full handshake then, and the session has only the certificate of
 * the peer. So the first expiry among its issuers is kept from there. It is kept for each issuer, since
 * one issues many certificates, and reading a chain takes several times as long as reading one.
 */

import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { certificateFields, extensionOf, notAfterOf } from '../identity/der.ts'
import { presentedCertificate } from '../identity/peer-certificate.ts'

/** TLS 1.3 has no older sessions: an issuer that is valid for longer need not be read again. */
const longestSession = 7 * 24 * 60 * 60 * 1_000
const maxIssuers = 1_000
const longestChain = 16
const authorityKeyIdentifier = '551d23'

/** When the first of an issuer and its issuers expires. */
const expiries = new Map<string, number>()

/** Keeps when the issuers of a certificate expire that a full handshake has verified. */
export function keepIssuerExpiry(trust: string, socket: TLSSocket): void {
  const certificate = presentedCertificate(socket)
  if (!certificate) return
  const key = keyOf(trust, certificate)
  const known = expiries.get(key)
  if (known !== undefined && known > Date.now() + longestSession) return
  const first = firstExpiry(socket.getPeerCertificate(true))
  expiries.delete(key)
  // Verified by other issuers than those that were sent, such as renewed ones in `ca`.
  if (first <= Date.now()) return
  // A renewed issuer has the same key, so it vouches for older sessions, too.
  expiries.set(key, Math.max(known ?? 0, first))
  if (expiries.size > maxIssuers) expiries.delete(expiries.keys().next().value!)
}

/**
 * Checks the dates where a session is resumed. Of an issuer that this process has not seen in a full
 * handshake, as with tickets of another process, it knows none.
 */
export function checkResumedDates(trust: string, socket: TLSSocket): void {
  if (!socket.authorized) return
  const certificate = presentedCertificate(socket)
  if (!certificate) return
  const issuers = expiries.get(keyOf(trust, certificate)) ?? Infinity
  if (Math.min(notAfterOf(certificate), issuers) > Date.now()) return
  Object.assign(socket, { authorized: false, authorizationError: 'CERT_HAS_EXPIRED' })
}

/** The issuer by its name and key; without an identifier of the key, of this certificate alone. */
function keyOf(trust: string, certificate: Buffer): string {
  const { issuer } = certificateFields(certificate)
  const name = certificate.toString('latin1', issuer.start, issuer.end)
  const key = extensionOf(certificate, authorityKeyIdentifier)
  return `${trust} ${name} ${certificate.toString('latin1', key?.start, key?.end)}`
}

function firstExpiry(certificate: DetailedPeerCertificate): number {
  let first = Infinity
  let one = certificate
  for (let depth = 0; depth < longestChain; depth++) {
    const issuer = one.issuerCertificate as DetailedPeerCertificate | undefined
    if (!issuer?.raw || issuer === one) break
    first = Math.min(first, notAfterOf(issuer.raw))
    one = issuer
  }
  return first
}
