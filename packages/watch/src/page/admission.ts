/** `POST /admission`: a certificate in PEM, and whether the servers would admit it. */

import type { AdmissionOptions } from 'cio'
import { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { ServerAdmission } from '../admissions.ts'

const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g
const mostBytes = 256 * 1_024
/** OpenSSL's own bound on a chain is 100. Each may cost some checks of signatures. */
const mostCertificates = 20

/** The part of a watch that is used here. */
interface Judge {
  wouldAdmit(certificate: X509Certificate, options: AdmissionOptions): Promise<ServerAdmission[]>
}

/** The answer, or the reason why there is none, with an HTTP status. */
export type AdmissionAnswer =
  | { readonly servers: readonly ServerAdmission[] }
  | { readonly status: 400 | 413; readonly text: string }

/** Reads the certificates of a request, the client's first, and asks the servers. */
export async function answerAdmission(
  request: IncomingMessage,
  { searchParams }: URL,
  watching: Judge,
): Promise<AdmissionAnswer> {
  const pem = await read(request)
  if (pem === undefined) return { status: 413, text: `at most ${mostBytes} bytes` }
  const found = pem.match(block) ?? []
  if (found.length > mostCertificates) {
    return { status: 413, text: `at most ${mostCertificates} certificates` }
  }
  let certificate: X509Certificate | undefined
  let issuers: X509Certificate[]
  try {
    ;[certificate, ...issuers] = found.map((one) => new X509Certificate(one))
  } catch {
    return { status: 400, text: 'a certificate cannot be read' }
  }
  if (!certificate) return { status: 400, text: 'there is no certificate in PEM' }
  const servername = searchParams.get('servername')
  const options = { issuers, ...(servername !== null && { servername }) }
  return { servers: await watching.wouldAdmit(certificate, options) }
}

async function read(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > mostBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('latin1')
}
