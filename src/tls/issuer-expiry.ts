/**
 * The dates of the issuers of a certificate, where a session is resumed and while a connection is
 * open.
 *
 * On resumption OpenSSL repeats the verdict of the full handshake, and the session contains only
 * the certificate of the peer. So Cio notes in each full handshake when the first of the issuers
 * expires. It notes this for each issuer, since an issuer has many certificates, and reading a
 * whole chain is slow.
 */

import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { certificateFields, extensionOf, notAfterOf } from '../identity/der.ts'
import { presentedCertificate } from '../identity/peer-certificate.ts'

/**
 * TLS 1.3 sessions are not older than this, so an issuer that is valid for longer need not be read
 * again.
 */
const longestSession = 7 * 24 * 60 * 60 * 1_000
const maxIssuers = 1_000
const longestChain = 16
const authorityKeyIdentifier = '551d23'

/** The first expiry among an issuer and its own issuers. */
const expiries = new Map<string, number>()

/** The same for open connections, where it is before the expiry of the certificate itself. */
const earlier = new WeakMap<object, number>()

/** When the first issuer of a peer expires, if that is before its own certificate; or `Infinity`. */
export function issuerExpiryOf(socket: object | null): number {
  return (socket && earlier.get(socket)) ?? Infinity
}

function noteExpiry(socket: TLSSocket, certificate: Buffer, issuers: number): void {
  if (issuers < notAfterOf(certificate)) earlier.set(socket, issuers)
}

/**
 * Notes when the issuers of a certificate expire. Called after a full handshake has verified it.
 */
export function keepIssuerExpiry(trust: string, socket: TLSSocket): void {
  const certificate = presentedCertificate(socket)
  if (!certificate) return
  const key = keyOf(trust, certificate)
  const known = expiries.get(key)
  if (known !== undefined && known > Date.now() + longestSession) {
    return noteExpiry(socket, certificate, known)
  }
  const first = firstExpiry(socket.getPeerCertificate(true))
  expiries.delete(key)
  // OpenSSL verified it by other issuers than the sent ones, such as renewed issuers in `ca`.
  if (first <= Date.now()) return
  // A renewed issuer has the same key, so it also counts for older sessions.
  const latest = Math.max(known ?? 0, first)
  expiries.set(key, latest)
  noteExpiry(socket, certificate, latest)
  if (expiries.size > maxIssuers) expiries.delete(expiries.keys().next().value!)
}

/**
 * Checks the dates when a session is resumed. It does not know the dates of an issuer that this
 * process has never seen in a full handshake: with a ticket of another process, for example.
 */
export function checkResumedDates(trust: string, socket: TLSSocket): void {
  if (!socket.authorized) return
  const certificate = presentedCertificate(socket)
  if (!certificate) return
  const issuers = expiries.get(keyOf(trust, certificate)) ?? Infinity
  noteExpiry(socket, certificate, issuers)
  if (Math.min(notAfterOf(certificate), issuers) > Date.now()) return
  Object.assign(socket, { authorized: false, authorizationError: 'CERT_HAS_EXPIRED' })
}

/**
 * Identifies the issuer by its name and key. Without a key identifier, the result applies to this
 * certificate only.
 */
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
