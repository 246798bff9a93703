/** Whether a certificate is allowed for a TLS client, or for a CA above one (RFC 5280, 4.2.1). */

import type { X509Certificate } from 'node:crypto'
import { quote } from '../errors.ts'
import { children, extensionOf, integer, integerOf } from '../identity/der.ts'

const clientAuthentication = '1.3.6.1.5.5.7.3.2'
// The object identifiers of extensions, in hexadecimal.
const keyUsage = '551d0f'
const basicConstraints = '551d13'
const nameConstraints = '551d1e'
// The bits digitalSignature and keyAgreement.
const usageOfClients = 0x88

/**
 * OpenSSL's verdict on a certificate of a client's chain, by its extensions. The leaf has depth 0.
 *
 * @throws if it has name constraints, which only a handshake checks
 */
export function purposeVerdict(certificate: X509Certificate, depth: number): string | undefined {
  const { raw, subject, keyUsage: purposes } = certificate
  // A CA that is limited to other purposes cannot issue certificates for clients either.
  if (purposes?.length > 0 && !purposes.includes(clientAuthentication)) return 'INVALID_PURPOSE'
  if (depth === 0) return maySign(raw) ? undefined : 'INVALID_PURPOSE'
  if (extensionOf(raw, nameConstraints) !== undefined) {
    throw new Error(`${quote(subject)} has name constraints, which only a handshake checks`)
  }
  return depth - 1 > pathLengthOf(raw) ? 'PATH_LENGTH_EXCEEDED' : undefined
}

function maySign(raw: Buffer): boolean {
  const usage = extensionOf(raw, keyUsage)
  // An OCTET STRING around a BIT STRING, which begins with the count of its unused bits.
  const [bits] = usage ? children(raw, usage) : []
  return !bits || (raw[bits.start + 1]! & usageOfClients) > 0
}

/** The number of CAs that may stand between a CA and a leaf. */
function pathLengthOf(raw: Buffer): number {
  const constraints = extensionOf(raw, basicConstraints)
  const [fields] = constraints ? children(raw, constraints) : []
  const length = fields && children(raw, fields).find(({ tag }) => tag === integer)
  return length ? parseInt(integerOf(raw, length), 16) : Infinity
}
