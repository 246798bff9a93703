/** A verified certificate as an identity. */

import { X509Certificate, createHash } from 'node:crypto'
import { isIP } from 'node:net'
import { canonicalAddress } from '../streams/endpoint.ts'
import { attributesOf, certificateFields, extensionOf } from './der.ts'

/** Subject alternative names by kind, as in the certificate; addresses in canonical form. */
export interface PeerNames {
  readonly dns: readonly string[]
  readonly uri: readonly string[]
  readonly email: readonly string[]
  readonly ip: readonly string[]
}

// Types of attributes of a name, by the hexadecimal of their object identifiers.
const commonName = '550403'
const organization = '55040a'
const organizationalUnit = '55040b'

const alternativeNames = '551d11'

/**
 * The identity of the other side, from a verified certificate. Each property is read from the
 * certificate on first use.
 *
 * `ctx.peer` is null unless there is such a certificate: an unverified one never becomes a Peer.
 */
export class Peer {
  readonly #der: Buffer
  #certificate: X509Certificate | undefined
  #subject: ReadonlyMap<string, readonly string[]> | null | undefined
  #names: PeerNames | null | undefined

  /**
   * @param certificate Node's object, or DER
   */
  constructor(certificate: X509Certificate | Buffer) {
    this.#der = certificate instanceof X509Certificate ? certificate.raw : certificate
    if (certificate instanceof X509Certificate) this.#certificate = certificate
  }

  /** Node's object, without its issuers. */
  get certificate(): X509Certificate {
    return (this.#certificate ??= new X509Certificate(this.#der))
  }

  /** The common name; null if there is none, more than one, or one that contains a NUL. */
  get name(): string | null {
    const names = this.#values(commonName)
    const [name] = names
    return name === undefined || names.length > 1 || name.includes('\0') ? null : name
  }

  /** The subject alternative names by kind; all empty if they cannot be read without doubt. */
  get names(): PeerNames {
    return this.#namesOrNull() ?? nobody
  }

  /** Organizations of the subject, usually one; none if the subject cannot be read. */
  get organization(): readonly string[] {
    return this.#values(organization)
  }

  /** Organizational units of the subject; none if the subject cannot be read. */
  get organizationalUnit(): readonly string[] {
    return this.#values(organizationalUnit)
  }

  /** SHA-256 of the certificate, in upper-case pairs with colons, as in Node. */
  get fingerprint256(): string {
    return this.certificate.fingerprint256
  }

  /** The public key as a pin: `sha256/` and the base64 of the SHA-256 of its SubjectPublicKeyInfo. */
  get spki(): string {
    const der = this.certificate.publicKey.export({ type: 'spki', format: 'der' })
    return `sha256/${createHash('sha256').update(der).digest('base64')}`
  }

  /** The serial number in upper-case hexadecimal, as in Node. */
  get serialNumber(): string {
    return this.certificate.serialNumber
  }

  /** The issuer's distinguished name, one attribute per line. */
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
   * Why the names of this certificate cannot be trusted, or null. Lists always reject a certificate
   * with a defect.
   */
  get defect(): string | null {
    const subject = this.#subjectOrNull()
    if (!subject) return 'the subject of its certificate cannot be read'
    if (this.#values(commonName).length > 1) return 'its certificate has more than one common name'
    const names = this.#namesOrNull()
    if (!names) return 'the alternative names of its certificate cannot be read'
    const all = [...subject.values(), ...(Object.values(names) as string[][])].flat()
    return all.some((name) => name.includes('\0')) ? 'its certificate has a NUL in a name' : null
  }

  #values(type: string): readonly string[] {
    return this.#subjectOrNull()?.get(type) ?? []
  }

  /** From the DER: Node omits a value that it cannot read, or the whole subject. */
  #subjectOrNull(): ReadonlyMap<string, readonly string[]> | null {
    if (this.#subject !== undefined) return this.#subject
    try {
      return (this.#subject = attributesOf(this.#der, certificateFields(this.#der).subject))
    } catch {
      return (this.#subject = null)
    }
  }

  #namesOrNull(): PeerNames | null {
    if (this.#names !== undefined) return this.#names
    try {
      const text = this.certificate.subjectAltName as string | null | undefined
      // Also if Node has no text for the extension.
      const readable =
        text != null && text !== '' ? true : extensionOf(this.#der, alternativeNames) === undefined
      return (this.#names = readable ? parseNames(text ?? undefined) : null)
    } catch {
      return (this.#names = null)
    }
  }
}

const nobody: PeerNames = { dns: [], uri: [], email: [], ip: [] }

const kinds: Readonly<Record<string, keyof PeerNames>> = {
  DNS: 'dns',
  URI: 'uri',
  email: 'email',
  'IP Address': 'ip',
}

// A kind, a colon, and either a JSON string or a text without commas and quotes: Node writes the
// first wherever the second would be ambiguous (X509Certificate.subjectAltName, CVE-2021-44532).
const nextName = /([A-Za-z ]+):(?:("(?:[^"\\]|\\.)*")|([^",]*))(?:, (?!$)|$)/y

/** Parses the text form of alternative names; null if any part is malformed. */
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
    // Node writes only the length of an invalid address.
    if (key === 'ip' && isIP(value) === 0) return null
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
