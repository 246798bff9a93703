/** The answer of `cio why --cert`. */

import type { AdmissionStep } from 'cio'
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { ServerAdmission } from '../admissions.ts'
import type { Paint } from './paint.ts'
import { words } from '../format.ts'
import { clean } from '../text.ts'

const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/**
 * The certificates of a file in PEM or DER, the client's first. Nothing else leaves this process,
 * since the file may also contain the key.
 */
export async function certificatesIn(file: string): Promise<X509Certificate[]> {
  const content = await readFile(file)
  const blocks = content.toString('latin1').match(block)
  try {
    return (blocks ?? [content]).map((one) => new X509Certificate(one))
  } catch (cause) {
    throw new Error(`${file} has no certificate that can be read, in PEM or DER`, { cause })
  }
}

const marks: Readonly<Record<AdmissionStep['outcome'], string>> = {
  admits: '✓',
  refuses: '✗',
  unknown: '?',
  'not asked': '·',
  'not reached': '·',
}

/** The answer of each server to the certificate, step by step. */
export function admissionText(
  certificate: X509Certificate,
  servers: readonly ServerAdmission[],
  paint: Paint,
): string {
  const { subject, issuer, validTo } = certificate
  const lines = [
    `${paint('bold', nameIn(subject))}, certificate of ${nameIn(issuer)}, until ${new Date(validTo).toISOString()}`,
  ]
  for (const { server, admitted, steps } of servers) {
    const verdict =
      admitted === undefined
        ? 'cannot say whether it would let it in'
        : admitted
          ? 'would let it in'
          : 'would refuse it'
    lines.push('', paint('bold', `${clean(server)} ${verdict}`))
    const width = Math.max(0, ...steps.map(({ name }) => name.length))
    for (const step of steps) lines.push(stepLine(step, width, paint), ...reasonLines(step))
  }
  if (servers.length === 0) lines.push('no server listens')
  return `${lines.join('\n')}\n`
}

function stepLine({ name, at, outcome }: AdmissionStep, width: number, paint: Paint): string {
  const line = `  ${marks[outcome]} ${name.padEnd(width)}  ${outcome.padEnd(11)}  ${at}`
  if (outcome === 'refuses') return paint('red', line)
  return outcome.startsWith('not') ? paint('dim', line) : line
}

/** Verdicts of OpenSSL that a certificate often gets, for a reader. */
const meanings: Readonly<Record<string, string>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'no CA of the server has issued it, or an intermediate is missing',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its chain leads to no CA of the server',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it is self-signed',
  SELF_SIGNED_CERT_IN_CHAIN: 'its chain leads to no CA of the server',
  CERT_NOT_YET_VALID: 'it is not valid yet: look at the clocks',
  CERT_HAS_EXPIRED: 'it, or a CA above it, has expired',
  INVALID_PURPOSE: 'it is not for TLS clients: look at its extendedKeyUsage and keyUsage',
  CRL_HAS_EXPIRED: 'the revocation list of its CA has expired: renew the file of `crl`',
  UNABLE_TO_GET_CRL: 'the server has a `crl`, and none of its CA',
}

function reasonLines({ refusal, message }: AdmissionStep): string[] {
  const verdict = refusal?.verdict === undefined ? '' : ` (${clean(refusal.verdict)})`
  const meaning = meanings[refusal?.verdict ?? ''] ?? ''
  return [
    ...(refusal ? [`    ${words(clean(refusal.why))}${verdict}${meaning && `: ${meaning}`}`] : []),
    ...(message === undefined ? [] : [`    ${clean(message)}`]),
  ]
}

/** The common name of a distinguished name, or all of it. */
function nameIn(text: string | undefined): string {
  const [, name] = /^CN=(.*)$/m.exec(text ?? '') ?? []
  return clean(name ?? text?.replaceAll('\n', ', ') ?? 'a certificate without a name')
}
