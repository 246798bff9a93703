/**
 * Certificate revocation lists (CRL). Node checks them only in handshakes; this file checks open
 * connections. The lists come from the operator, and OpenSSL has read them: it checks their
 * signatures and dates.
 */

import type { X509Certificate } from 'node:crypto'
import {
  certificateFields,
  children,
  integer,
  integerOf,
  listExtensions,
  isTime,
  nameOf,
  sequence,
  timeOf,
} from './der.ts'

const block = /-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----/g

const deltaIndicator = '551d1b'
const distributionPoint = '551d1c'
/** The critical extensions that OpenSSL knows: those above, and the key identifier of the issuer. */
const known = new Set([deltaIndicator, distributionPoint, '551d23'])
/** The fields of a distribution point that limit a list to some reasons, issuers or attributes. */
const limits: Readonly<Record<number, string>> = {
  0x83: 'covers some reasons only',
  0x84: 'is an indirect list',
  0x85: 'is of attribute certificates',
}
/** The reason `removeFromCRL` of an entry: it is released again. */
const released = Buffer.from('0603551d1504030a0108', 'hex')

/**
 * Why a handshake would pass over the entries of a list in PEM; undefined if it counts them. Beside
 * another list of the same issuer, OpenSSL would use only that one, or use a delta list alone in
 * place of its complete list, and admit the certificates on the other.
 */
export function listDefect(pem: string): string | undefined {
  const defect = uncounted(pem)
  return defect && `${defect}, which OpenSSL does not count; give the complete list of the CA`
}

function uncounted(pem: string): string | undefined {
  for (const [, base64] of pem.matchAll(block)) {
    const der = Buffer.from(base64!, 'base64')
    for (const { type, isCritical, value } of listExtensions(der)) {
      if (type === deltaIndicator) return 'is a delta list'
      if (isCritical && !known.has(type)) return `has a critical extension (${type})`
      if (type !== distributionPoint) continue
      const [fields] = children(der, value)
      const limit = children(der, fields).find(({ tag }) => tag in limits)
      if (limit) return limits[limit.tag]
    }
  }
  return undefined
}

/** The certificates that the lists revoke. */
export class RevocationList {
  readonly #serialsByIssuer = new Map<string, Set<string>>()
  /** The period of each list. */
  readonly #periods = new Map<string, readonly (readonly [from: number, until: number])[]>()

  /**
   * @throws if a list in PEM cannot be read
   */
  constructor(lists: readonly string[]) {
    for (const list of lists) {
      for (const [, base64] of list.matchAll(block)) this.#add(Buffer.from(base64!, 'base64'))
    }
  }

  has({ raw }: X509Certificate): boolean {
    if (this.#serialsByIssuer.size === 0) return false
    const { serial, issuer } = certificateFields(raw)
    return this.#serialsByIssuer.get(nameOf(raw, issuer))?.has(integerOf(raw, serial)) ?? false
  }

  /**
   * OpenSSL's verdict on the lists with which a handshake checks a certificate. It uses a list of
   * the issuer that is valid now. Undefined if there is one, or no list at all.
   */
  lacks({ raw }: X509Certificate): 'UNABLE_TO_GET_CRL' | 'CRL_HAS_EXPIRED' | undefined {
    if (this.#periods.size === 0) return undefined
    const periods = this.#periods.get(nameOf(raw, certificateFields(raw).issuer))
    if (!periods) return 'UNABLE_TO_GET_CRL'
    const now = Date.now()
    return periods.some(([from, until]) => from <= now && now <= until)
      ? undefined
      : 'CRL_HAS_EXPIRED'
  }

  /** CertificateList of RFC 5280, section 5.1. */
  #add(der: Buffer): void {
    const [whole] = children(der)
    const [body] = children(der, whole)
    const fields = children(der, body).filter(({ tag }) => tag !== integer)
    const [, issuer, ...rest] = fields
    if (!issuer) throw new Error('a revocation list has no issuer')
    const name = nameOf(der, issuer)
    const serials = this.#serialsByIssuer.get(name) ?? new Set()
    this.#serialsByIssuer.set(name, serials)
    const [from, until] = rest.filter(isTime).map((time) => timeOf(der, time))
    this.#periods.set(name, [...(this.#periods.get(name) ?? []), [from ?? NaN, until ?? Infinity]])
    const entries = rest.find(({ tag }) => tag === sequence)
    for (const entry of entries ? children(der, entries) : []) {
      const [serial] = children(der, entry)
      // As in a handshake.
      if (der.subarray(entry.start, entry.end).includes(released)) continue
      if (serial?.tag === integer) serials.add(integerOf(der, serial))
    }
  }
}
