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
 * The certificates of a file in PEM or DER, the client's first. Nothing else leaves this process: the
 * file may have the key, too.
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

/** What each server would do with the certificate, step by step. */
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

function reasonLines({ refusal, message }: AdmissionStep): string[] {
  const verdict = refusal?.verdict === undefined ? '' : ` (${clean(refusal.verdict)})`
  return [
    ...(refusal ? [`    ${words(clean(refusal.why))}${verdict}`] : []),
    ...(message === undefined ? [] : [`    ${clean(message)}`]),
  ]
}

/** The common name of a distinguished name, or all of it. */
function nameIn(text: string | undefined): string {
  const [, name] = /^CN=(.*)$/m.exec(text ?? '') ?? []
  return clean(name ?? text?.replaceAll('\n', ', ') ?? 'a certificate without a name')
}
