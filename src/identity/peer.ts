/** A verified certificate as an identity. */

import { type X509Certificate, createHash } from 'node:crypto'
import { SocketAddress, isIPv4, isIPv6 } from 'node:net'

/** Subject alternative names by kind, as the certificate has them; addresses in canonical form. */
export interface PeerNames {
  readonly dns: readonly string[]
  readonly uri: readonly string[]
  readonly email: readonly string[]
  readonly ip: readonly string[]
}

/**
 * Who the other side is, by a certificate that was verified. Everything is read from the
 * certificate when it is first asked for.
 *
 * `ctx.peer` is null unless there is such a certificate: an unverified one never becomes a Peer.
 */
export class Peer {
  readonly certificate: X509Certificate
  #subject: Readonly<Record<string, string | readonly string[] | undefined>> | undefined
  #names: PeerNames | null | undefined

  constructor(certificate: X509Certificate) {
    this.certificate = certificate
  }

  /** The common name; null if there is none, or more than one, or one with a NUL in it. */
  get name(): string | null {
    const names = values(this.#subjectOf().CN)
    const [name] = names
    return name === undefined || names.length > 1 || name.includes('\0') ? null : name
  }

  /** The subject alternative names by kind; all empty if they cannot be read without doubt. */
  get names(): PeerNames {
    return this.#namesOrNull() ?? nobody
  }

  /** Organizations of the subject, usually one. */
  get organization(): readonly string[] {
    return values(this.#subjectOf().O)
  }

  /** Organizational units of the subject. */
  get organizationalUnit(): readonly string[] {
    return values(this.#subjectOf().OU)
  }

  /** SHA-256 of the certificate, in upper-case pairs with colons, as Node has it. */
  get fingerprint256(): string {
    return this.certificate.fingerprint256
  }

  /** The public key as a pin: `sha256/` and the base64 of the SHA-256 of its SubjectPublicKeyInfo. */
  get spki(): string {
    const der = this.certificate.publicKey.export({ type: 'spki', format: 'der' })
    return `sha256/${createHash('sha256').update(der).digest('base64')}`
  }

  /** In upper-case hexadecimal, as Node has it. */
  get serialNumber(): string {
    return this.certificate.serialNumber
  }

  /** The issuer's distinguished name, an attribute a line. */
  get issuer(): string {
    return this.certificate.issuer
  }

  get validFrom(): Date {
    return new Date(this.certificate.validFrom)
  }

  get validTo(): Date {
    return new Date(this.certificate.validTo)
  }

  /**
   * Why no rule about names can hold for this certificate, or null. Lists turn away who has a
   * defect, whatever they say otherwise.
   */
  get defect(): string | null {
    const subject = this.#subjectOf()
    if (values(subject.CN).length > 1) return 'its certificate has more than one common name'
    const all = Object.values(subject).flatMap(values)
    if (all.some((value) => value.includes('\0'))) return 'its certificate has a NUL in a name'
    const names = this.#namesOrNull()
    if (!names) return 'the alternative names of its certificate cannot be read'
    if (Object.values(names).some((kind: string[]) => kind.some((value) => value.includes('\0')))) {
      return 'its certificate has a NUL in a name'
    }
    return null
  }

  #subjectOf(): Readonly<Record<string, string | readonly string[] | undefined>> {
    // Empty subjects are undefined here, whatever the declarations say.
    return (this.#subject ??= { ...this.certificate.toLegacyObject().subject })
  }

  #namesOrNull(): PeerNames | null {
    return (this.#names ??= parseNames(this.certificate.subjectAltName))
  }
}

const nobody: PeerNames = { dns: [], uri: [], email: [], ip: [] }

function values(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return []
  return typeof value === 'string' ? [value] : value
}

const kinds: Readonly<Record<string, keyof PeerNames>> = {
  DNS: 'dns',
  URI: 'uri',
  email: 'email',
  'IP Address': 'ip',
}

// A kind, a colon, and either a JSON string or a text without commas and quotes: Node writes the
// first wherever the second would be ambiguous (X509Certificate.subjectAltName, CVE-2021-44532).
const nextName = /([A-Za-z ]+):(?:("(?:[^"\\]|\\.)*")|([^",]*))(?:, (?!$)|$)/y

/** Reads the text form of alternative names; null at the first thing that is not of that form. */
export function parseNames(text: string | undefined): PeerNames | null {
  const names = { dns: [], uri: [], email: [], ip: [] } as Record<keyof PeerNames, string[]>
  if (text === undefined) return names

  nextName.lastIndex = 0
  while (nextName.lastIndex < text.length) {
    const [, kind, quoted, plain] = nextName.exec(text) ?? []
    if (kind === undefined) return null
    const value = quoted === undefined ? plain! : unquote(quoted)
    if (value === null) return null
    const key = kinds[kind]
    if (key) names[key].push(key === 'ip' ? canonicalAddress(value) : value)
  }
  return names
}

function unquote(text: string): string | null {
  try {
    return JSON.parse(text) as string
  } catch {
    return null
  }
}

/** One spelling for an address: IPv6 shortened and in lower case, IPv4-mapped IPv6 as IPv4. */
export function canonicalAddress(address: string): string {
  if (isIPv4(address) || !isIPv6(address)) return address
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address.toLowerCase()
  const mapped = canonical.startsWith('::ffff:') ? canonical.slice('::ffff:'.length) : ''
  return isIPv4(mapped) ? mapped : canonical
}
