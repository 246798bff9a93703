/** The certificates of a server, from the options that are in use, and when they expire. */

import type { ServerContext } from 'cio'
import { X509Certificate } from 'node:crypto'
import { clean } from './text.ts'

/** A certificate that a server presents or trusts. */
export interface ServerCertificate {
  /** Its use: `cert`, `ca`, or the host name of an entry of `sni`. */
  readonly use: string
  /** Its common name, or its first alternative name, or its serial number. */
  readonly name: string
  readonly subject: string
  readonly issuer: string
  /** Milliseconds since 1970. */
  readonly expires: number
}

const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g
const known = new WeakMap<object, readonly ServerCertificate[]>()

/** The certificates of a server; read once for each load of its options. */
export function certificatesOf({ options }: ServerContext): readonly ServerCertificate[] {
  const read = known.get(options)
  if (read) return read
  const { cert, ca, sni = {} } = options
  const found = [
    // Only the first of a chain is the server's own.
    ...parse('cert', cert).slice(0, 1),
    ...Object.entries(sni).flatMap(([host, one]) => parse(host, one.cert).slice(0, 1)),
    ...parse('ca', ca),
  ]
  known.set(options, found)
  return found
}

function parse(use: string, source: unknown): ServerCertificate[] {
  if (Array.isArray(source)) return source.flatMap((one) => parse(use, one))
  if (typeof source !== 'string' && !Buffer.isBuffer(source)) return []
  return (source.toString('latin1').match(block) ?? []).flatMap((pem) => {
    try {
      return [described(use, new X509Certificate(pem))]
    } catch {
      return []
    }
  })
}

function described(use: string, certificate: X509Certificate): ServerCertificate {
  const { subject, issuer, validTo, serialNumber, subjectAltName = '' } = certificate
  const [, common] = /^CN=(.*)$/m.exec(subject) ?? []
  const [, alternative] = /^[\w ]+:([^",]+)/.exec(subjectAltName) ?? []
  return {
    use,
    name: clean(common ?? alternative ?? serialNumber),
    subject: clean(subject.replaceAll('\n', ', ')),
    issuer: clean(issuer.replaceAll('\n', ', ')),
    expires: Date.parse(validTo),
  }
}
