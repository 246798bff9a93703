/** A verified certificate as an identity. */

import { X509Certificate, createHash } from 'node:crypto'
import { type PeerNames, alternativeNamesOf } from './alternative-names.ts'
import { attributesOf, certificateFields, extensionsOf } from './der.ts'

// Types of attributes of a name, by the hexadecimal of their object identifiers.
const commonName = '550403'
const organization = '55040a'
const organizationalUnit = '55040b'

export type { PeerNames }

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

  /** The begin of the validity of the certificate. */
  get validFrom(): Date {
    return new Date(this.certificate.validFrom)
  }

  /** The end of the validity of the certificate. */
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
      const [value, ...others] = extensionsOf(this.#der, alternativeNames)
      if (!value) return (this.#names = nobody)
      const names = alternativeNamesOf(this.#der.subarray(value.start, value.end))
      return (this.#names = others.length === 0 ? names : null)
    } catch {
      return (this.#names = null)
    }
  }
}

const nobody: PeerNames = { dns: [], uri: [], email: [], ip: [] }
