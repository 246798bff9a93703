/** Verifies that a server's certificate is for the requested name. */

import { X509Certificate } from 'node:crypto'
import { type PeerCertificate, type TLSSocket, checkServerIdentity } from 'node:tls'
import { presentedCertificate } from '../identity/peer-certificate.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { TlsClientOptions } from './tls-options.ts'
import { refusalReasonOf } from './handshake-errors.ts'
import { checkResumedDates } from './issuer-expiry.ts'
import { trustHash } from './trust-store.ts'
import { CioError, asError, quote } from '../errors.ts'
import { askedName } from '../streams/host-name.ts'
import { atOnce } from '../thenable.ts'

/** The check of the server's name: Node's own, or the application's, which may throw. */
export function serverNameCheck({
  checkServerIdentity: check = checkServerIdentity,
}: TlsClientOptions): typeof checkServerIdentity {
  return (host, certificate) => {
    try {
      const error: unknown = atOnce('connect', 'checkServerIdentity', check(host, certificate))
      // Node reads it, and takes what is false for none.
      return error ? asError(error) : undefined
    } catch (thrown) {
      return asError(thrown)
    }
  }
}

/** A key that stands for the trust of a client: it differs if the trusted CAs or lists differ. */
export function clientTrust(options: TlsClientOptions): string {
  return trustHash(options).toString('hex')
}

/**
 * When a session is resumed, Node does not check the name or the date again, even if the session
 * was for another name.
 */
export function checkResumedServer(
  { options, remote }: Pick<StreamContext, 'remote'> & { readonly options: TlsClientOptions },
  socket: TLSSocket,
): void {
  const wasAuthorized = socket.authorized
  checkResumedDates(clientTrust(options), socket)
  if (wasAuthorized && !socket.authorized && options.rejectUnauthorized !== false) {
    const cause = Object.assign(
      new Error('the certificate, or one of its issuers, has expired since it was verified'),
      {
        code: 'CERT_HAS_EXPIRED',
      },
    )
    throw serverRefusedError(remote, cause)
  }
  const certificate = presentedCertificate(socket)
  if (!certificate || !socket.authorized) return
  const named = new X509Certificate(certificate).toLegacyObject()
  const error = serverNameCheck(options)(askedName(options).host, named)
  if (!error) return
  const authorizationError = (error as NodeJS.ErrnoException).code ?? error.message
  Object.assign(socket, { authorized: false, authorizationError })
  if (options.rejectUnauthorized !== false) throw serverRefusedError(remote, error)
}

/** The error of a server whose certificate is rejected. */
export function serverRefusedError(remote: string, cause: Error): CioError {
  const given: unknown = (cause as NodeJS.ErrnoException).code
  // Of an error of the application it may be anything, also what has no text.
  const code = typeof given === 'string' ? given : cause.name
  return new CioError(
    'ERR_CIO_REJECTED',
    `${remote} was rejected by \`secure\`: its certificate is not accepted (${code}): ${whyNotAccepted(cause)}`,
    {
      fault: 'remote',
      cause,
      end: 'untrusted',
      refusal: { step: 'secure', why: refusalReasonOf(code), verdict: code },
    },
  )
}

/** Node's message about a wrong name contains the names of the certificate, unescaped. */
function whyNotAccepted(cause: Error): string {
  const { host, cert } = cause as { host?: string; cert?: PeerCertificate }
  if (host === undefined || !cert) return cause.message
  const claim = cert.subjectaltname ?? `CN=${String(cert.subject?.CN)}`
  return `it is not for \`${host}\`; the names it claims are ${quote(claim)}`
}
