/** The errors of TLS handshakes. */

import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { attributesOf, certificateFields } from '../identity/der.ts'
import { presentedCertificate } from '../identity/peer-certificate.ts'
import type { HandshakeFailure, Refusal, RefusalReason } from '../end-reason.ts'
import { CioError, asError, quote } from '../errors.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { serverNameOf } from './sni.ts'

/** Why a socket closed during the handshake: this side's reason, or the other side closed it. */
export function handshakeClosedError(
  ctx: StreamContext,
  remote: string,
  cause: Error | null,
  serverName?: string | false,
): Error {
  if (ctx.isClosed) return asError(ctx.signal.reason)
  return handshakeError(remote, 'it closed the connection', cause, serverName)
}

/** @param serverName The name that the client asked for. */
export function handshakeError(
  remote: string,
  what: string,
  cause: Error | null,
  serverName?: string | false,
): CioError {
  return new CioError('ERR_CIO_HANDSHAKE', `the handshake with ${remote} failed: ${what}`, {
    fault: 'remote',
    cause: cause ?? undefined,
    handshake: {
      serverName: serverNameOf(serverName),
      reason: reasonOf(cause) ?? (cause ? undefined : what),
      alert: alertOf(cause),
    },
  })
}

function reasonOf(cause: OpenSslError | null): string | undefined {
  return cause?.reason
}

interface OpenSslError extends Error {
  readonly library?: string
  readonly reason?: string
  readonly code?: string
}

/** OpenSSL sends no alert for these: the input is not TLS, or the other side has gone. */
const withoutAlert = new Set([
  'ERR_SSL_HTTP_REQUEST',
  'ERR_SSL_HTTPS_PROXY_REQUEST',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_UNEXPECTED_EOF_WHILE_READING',
])

/** The direction of the alert that ended a handshake; undefined without an alert. */
export function alertOf(cause: Error | null): HandshakeFailure['alert'] {
  const { library, code = '' } = (cause ?? {}) as OpenSslError
  if (library !== 'SSL routines') return undefined
  // OpenSSL names a received alert by its number.
  if (/_ALERT_/.test(code) || /SSL alert number \d/.test(cause!.message)) return 'received'
  return withoutAlert.has(code) ? undefined : 'sent'
}

/** OpenSSL's reason, without the source location before it. */
export function handshakeReason(error: Error): string {
  return (error as { reason?: string }).reason ?? error.message
}

export function handshakeTimeoutError(
  remote: string,
  timeout: number,
  serverName?: string | false,
): CioError {
  const message = `the handshake with ${remote} was not done within ${timeout} ms`
  return new CioError('ERR_CIO_HANDSHAKE_TIMEOUT', message, {
    fault: 'remote',
    handshake: { serverName: serverNameOf(serverName), reason: undefined, alert: undefined },
  })
}

/** The error of a client without a trusted certificate. */
export function clientRefusedError(ctx: StreamContext): CioError {
  const socket = ctx.socket as TLSSocket
  // Declared as an Error, but its value is a code.
  const verdict = String(socket.authorizationError)
  const claim = claimOf(socket)
  const why = claim
    ? `its certificate is not trusted (${verdict}); ${claim}`
    : 'it presented no certificate'
  const message = `${ctx.remote} was rejected by \`secure\`: ${why}`
  const refusal: Refusal = claim
    ? { step: 'secure', why: refusalReasonOf(verdict), verdict, peer: claimedPeer(socket) }
    : { step: 'secure', why: 'no_certificate' }
  return new CioError('ERR_CIO_REJECTED', message, { fault: 'remote', end: 'untrusted', refusal })
}

/** The reason of a refusal, for a verdict of OpenSSL. */
export function refusalReasonOf(verdict: string): RefusalReason {
  if (verdict === 'CERT_HAS_EXPIRED') return 'expired'
  return verdict === 'CERT_REVOKED' ? 'revoked' : 'untrusted'
}

// The object identifier of the common name.
const commonName = '550403'

/** The name that an unverified certificate claims. */
export function claimedPeer(socket: TLSSocket): NonNullable<Refusal['peer']> {
  return claimIn(presentedCertificate(socket))
}

/** The name that a certificate claims, from its DER. */
export function claimIn(der: Buffer | undefined): NonNullable<Refusal['peer']> {
  let names: readonly string[] = []
  try {
    if (der) names = attributesOf(der, certificateFields(der).subject).get(commonName) ?? []
  } catch {
    // A certificate that cannot be read claims no name.
  }
  return { name: names.length === 1 ? names[0]! : null, verified: false }
}

/** The identity of the other side, for a log line. */
export function whoIs({ peer }: StreamContext): string {
  return peer ? quote(peer.name ?? 'a peer without a name') : 'no peer'
}

/** The claimed identity of an unverified certificate; undefined without a certificate. */
export function claimOf(socket: TLSSocket): string | undefined {
  const certificate = presentedCertificate(socket)
  if (!certificate) return undefined
  // Undefined if empty, despite the declaration.
  const subject = (new X509Certificate(certificate).subject as string | undefined) ?? ''
  return `the subject it claims, unverified, is ${quote(subject)}`
}
