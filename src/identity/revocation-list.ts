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
/** The key identifier of the issuer. */
const issuerKey = '551d23'
/** The critical extensions that OpenSSL knows. */
const known = new Set([deltaIndicator, distributionPoint, issuerKey])
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

/** One list: its period, and the serial numbers on it. */
interface List {
  readonly from: number
  readonly until: number
  readonly serials: ReadonlySet<string>
}

/**
 * The certificates that the lists revoke.
 *
 * An issuer may have several lists for the same certificates. The newest that is valid counts, as in
 * a handshake, even if an older one revokes more. Lists are for other certificates if their key or
 * their distribution point differs.
 */
export class RevocationList {
  /** The lists of each issuer, by the certificates that they are for. */
  readonly #byIssuer = new Map<string, Map<string, List[]>>()

  /**
   * @throws if a list in PEM cannot be read
   */
  constructor(lists: readonly string[]) {
    for (const list of lists) {
      for (const [, base64] of list.matchAll(block)) this.#add(Buffer.from(base64!, 'base64'))
    }
  }

  has({ raw }: X509Certificate): boolean {
    if (this.#byIssuer.size === 0) return false
    const { serial, issuer } = certificateFields(raw)
    const lists = this.#byIssuer.get(nameOf(raw, issuer))
    if (!lists) return false
    const number = integerOf(raw, serial)
    return [...lists.values()].some((same) => newest(same).some((one) => one.serials.has(number)))
  }

  /**
   * OpenSSL's verdict on the lists with which a handshake checks a certificate. It uses a list of
   * the issuer that is valid now. Undefined if there is one, or no list at all.
   */
  lacks({ raw }: X509Certificate): 'UNABLE_TO_GET_CRL' | 'CRL_HAS_EXPIRED' | undefined {
    if (this.#byIssuer.size === 0) return undefined
    const lists = this.#byIssuer.get(nameOf(raw, certificateFields(raw).issuer))
    if (!lists) return 'UNABLE_TO_GET_CRL'
    return [...lists.values()].flat().some(isValid) ? undefined : 'CRL_HAS_EXPIRED'
  }

  /** CertificateList of RFC 5280, section 5.1. */
  #add(der: Buffer): void {
    const [whole] = children(der)
    const [body] = children(der, whole)
    const fields = children(der, body).filter(({ tag }) => tag !== integer)
    const [, issuer, ...rest] = fields
    if (!issuer) throw new Error('a revocation list has no issuer')
    const serials = new Set<string>()
    const entries = rest.find(({ tag }) => tag === sequence)
    for (const entry of entries ? children(der, entries) : []) {
      const [serial] = children(der, entry)
      // As in a handshake.
      if (der.subarray(entry.start, entry.end).includes(released)) continue
      if (serial?.tag === integer) serials.add(integerOf(der, serial))
    }
    const [from = NaN, until = Infinity] = rest.filter(isTime).map((time) => timeOf(der, time))
    const name = nameOf(der, issuer)
    const lists = this.#byIssuer.get(name) ?? new Map<string, List[]>()
    this.#byIssuer.set(name, lists)
    const certificates = forWhich(der)
    lists.set(certificates, [...(lists.get(certificates) ?? []), { from, until, serials }])
  }
}

/** The extensions that decide for which certificates of its issuer a list is. */
function forWhich(der: Buffer): string {
  return listExtensions(der)
    .filter(({ type }) => type === distributionPoint || type === issuerKey)
    .map(({ type, value: { start, end } }) => `${type}:${der.toString('hex', start, end)}`)
    .toSorted()
    .join()
}

function isValid({ from, until }: List): boolean {
  const now = Date.now()
  return from <= now && now <= until
}

/** The newest of the lists, of those that are valid if there is one; several of the same time. */
function newest(lists: readonly List[]): readonly List[] {
  const [only] = lists
  if (lists.length === 1) return [only!]
  const valid = lists.filter(isValid)
  const some = valid.length > 0 ? valid : lists
  const last = Math.max(...some.map(({ from }) => from))
  // A list whose time cannot be read counts.
  return some.filter(({ from }) => !(from < last))
}
