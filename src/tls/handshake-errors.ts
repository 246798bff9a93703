/** Errors of TLS handshakes, in words. */

import { X509Certificate } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { presentedCertificate } from '../identity/peer-certificate.ts'
import { Peer } from '../identity/peer.ts'
import type { Refusal } from '../connection-end.ts'
import { CioError, asError, quote } from '../errors.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** Why a socket closed during the handshake: this side's reason, or the other side closed it. */
export function handshakeClosedError(
  ctx: StreamContext,
  remote: string,
  cause: Error | null,
): Error {
  if (ctx.isClosed) return asError(ctx.signal.reason)
  return handshakeError(remote, 'it closed the connection', cause)
}

export function handshakeError(remote: string, what: string, cause: Error | null): CioError {
  return new CioError('ERR_CIO_HANDSHAKE', `the handshake with ${remote} failed: ${what}`, {
    fault: 'remote',
    cause: cause ?? undefined,
  })
}

/** OpenSSL's reason, without the source location before it. */
export function handshakeReason(error: Error): string {
  return (error as { reason?: string }).reason ?? error.message
}

export function handshakeTimeoutError(remote: string, timeout: number): CioError {
  const message = `the handshake with ${remote} was not done within ${timeout} ms`
  return new CioError('ERR_CIO_HANDSHAKE_TIMEOUT', message, { fault: 'remote' })
}

/** The error of a client without a trusted certificate. */
export function clientRefusedError(ctx: StreamContext): CioError {
  const socket = ctx.socket as TLSSocket
  // Declared as an Error, but in fact a code.
  const verdict = String(socket.authorizationError)
  const claim = claimOf(socket)
  const why = claim
    ? `its certificate is not trusted (${verdict}); ${claim}`
    : 'it presented no certificate'
  const message = `${ctx.remote} was turned away by \`secure\`: ${why}`
  const refusal: Refusal = claim
    ? { step: 'secure', why: 'untrusted', verdict, peer: claimedPeer(socket) }
    : { step: 'secure', why: 'no_certificate' }
  return new CioError('ERR_CIO_REJECTED', message, { fault: 'remote', end: 'untrusted', refusal })
}

/** The name that an unverified certificate claims, for programs. */
function claimedPeer(socket: TLSSocket): NonNullable<Refusal['peer']> {
  const certificate = presentedCertificate(socket)
  return { name: certificate ? new Peer(certificate).name : null, verified: false }
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
