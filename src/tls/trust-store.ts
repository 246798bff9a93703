/**
 * The trust store of a server: its CAs and revocation lists, and whether a certificate that was
 * verified before is still trusted when they change.
 *
 * Node verifies certificates only in a handshake. So Cio checks a verified chain again by Node's
 * X509Certificate. Each certificate must be issued by the next one, by name and signature, up to a
 * CA that is trusted now. None may have expired or be revoked. The next handshake checks the rest:
 * purposes, path lengths, name constraints, and the dates of lists.
 */

import { X509Certificate, createHash } from 'node:crypto'
import { type SecureContextOptions, type TLSSocket, rootCertificates } from 'node:tls'
import { CioError, quote } from '../errors.ts'
import { presentedIssuers } from '../identity/peer-certificate.ts'
import { RevocationList, listDefect } from '../identity/revocation-list.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { purposeVerdict } from './certificate-purpose.ts'

/** The options that decide about trust, as in Node's `tls`. */
export type TrustOptions = Pick<SecureContextOptions, 'ca' | 'crl'> & {
  /**
   * Node's option, from 22.9 on: a chain may end at any certificate of `ca`, not only at a root.
   */
  readonly allowPartialTrustChain?: boolean
}

/**
 * A hash of the trust store: of the contents of `ca` and `crl`, and of `allowPartialTrustChain`. Ticket
 * keys are derived from it, so that a change of trust invalidates them.
 */
export function trustHash({
  ca,
  crl,
  allowPartialTrustChain,
}: {
  readonly ca?: unknown
  readonly crl?: unknown
  readonly allowPartialTrustChain?: unknown
}): Buffer {
  const hash = createHash('sha256')
  for (const list of [ca, crl]) for (const text of texts(list)) hash.update(text).update('\0')
  // Without the option the hash is as in earlier releases, so that an upgrade does not invalidate
  // tickets.
  if (allowPartialTrustChain) hash.update('partial')
  return hash.update(String(ca === undefined)).digest()
}

/**
 * Refuses lists whose entries a handshake would not count, whichever middleware gave them.
 *
 * @throws `ERR_CIO_CERTIFICATE`
 */
export function checkLists({ crl }: TrustOptions): void {
  for (const text of texts(crl)) {
    const defect = listDefect(text)
    if (defect) throw new CioError('ERR_CIO_CERTIFICATE', `\`crl\` ${defect}`)
  }
}

function texts(list: unknown): string[] {
  const all = [list].flat() as (string | Buffer | undefined)[]
  return all.flatMap((one) => (one === undefined ? [] : [one.toString()]))
}

const block = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END/g

/** The answer of a check that makes the issuers irrelevant. */
const isTrusted = 'trusted'

/** How to search for a path from a leaf to a trusted CA. */
interface Search {
  /** The intermediates that came with the leaf. */
  readonly presented: readonly X509Certificate[]
  /** OpenSSL's verdict on one certificate by itself; the leaf has depth 0. */
  readonly check: (certificate: X509Certificate, depth: number) => string | undefined
  /** Called for each certificate of the path that was found. */
  readonly trusted: (certificate: X509Certificate) => void
  /** The fingerprints of the certificates that were looked at. */
  readonly seen: Set<string>
}

const sentences: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'has expired, or depends on one that has',
  CERT_REVOKED: 'is revoked, or depends on one that is',
}

function hasExpired({ validTo }: X509Certificate): boolean {
  return Date.parse(validTo) < Date.now()
}

/** OpenSSL's verdict on a certificate without an issuer. */
function noIssuer(certificate: X509Certificate, isLeaf: boolean): string {
  if (certificate.checkIssued(certificate)) {
    return isLeaf ? 'DEPTH_ZERO_SELF_SIGNED_CERT' : 'SELF_SIGNED_CERT_IN_CHAIN'
  }
  return isLeaf ? 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' : 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'
}

/** Checks certificates against a set of CAs and revocation lists. */
export class TrustStore {
  readonly #anchors: readonly X509Certificate[]
  readonly #partial: boolean
  readonly #revoked: RevocationList
  /**
   * The certificates that were accepted before: until when each is valid, together with its
   * issuers.
   */
  readonly #accepted = new Map<string, number>()

  /**
   * @throws if a certificate or list cannot be read
   */
  constructor({ ca, crl, allowPartialTrustChain = false }: TrustOptions) {
    this.#revoked = new RevocationList(texts(crl))
    const pem = ca === undefined ? rootCertificates : texts(ca)
    this.#partial = allowPartialTrustChain
    this.#anchors = pem
      .flatMap((text) => text.match(block) ?? [])
      .map((one) => new X509Certificate(`${one} CERTIFICATE-----\n`.replace(/(TRUSTED|X509) /, '')))
  }

  /**
   * Why a certificate from an earlier handshake is not trusted now, with the intermediates of that
   * handshake; undefined if it is.
   */
  refuses(leaf: X509Certificate, presented: readonly X509Certificate[] = []): string | undefined {
    const accepted = this.#accepted
    // The first expiry on the path that is followed.
    let until = Infinity
    const verdict = this.#verdict(leaf, {
      presented,
      check: (certificate) => {
        if (hasExpired(certificate)) return 'CERT_HAS_EXPIRED'
        const known = accepted.get(certificate.fingerprint256) ?? 0
        if (known > Date.now()) {
          until = known
          return isTrusted
        }
        return this.#revoked.has(certificate) ? 'CERT_REVOKED' : undefined
      },
      trusted: ({ fingerprint256, validTo }) => {
        until = Math.min(until, Date.parse(validTo))
        accepted.set(fingerprint256, until)
      },
      seen: new Set(),
    })
    if (verdict === undefined) return undefined
    return sentences[verdict] ?? 'leads to no CA that is trusted any more'
  }

  /**
   * OpenSSL's verdict on a client's certificate and its intermediates, without a connection;
   * undefined if a handshake would verify it. It does not check the strength of keys and
   * signatures.
   *
   * @throws if a CA of the chain has name constraints, which only a handshake checks
   */
  clientVerdict(
    leaf: X509Certificate,
    presented: readonly X509Certificate[] = [],
  ): string | undefined {
    const chain: X509Certificate[] = []
    const verdict = this.#verdict(leaf, {
      presented,
      check: (certificate, depth) => {
        if (Date.parse(certificate.validFrom) > Date.now()) return 'CERT_NOT_YET_VALID'
        if (hasExpired(certificate)) return 'CERT_HAS_EXPIRED'
        if (this.#revoked.has(certificate)) return 'CERT_REVOKED'
        return purposeVerdict(certificate, depth)
      },
      trusted: (certificate) => chain.push(certificate),
      seen: new Set(),
    })
    return verdict ?? chain.map((one) => this.#revoked.lacks(one)).find((one) => one !== undefined)
  }

  /** The verdict on a certificate: it checks each certificate up to a trusted CA. */
  #verdict(certificate: X509Certificate, search: Search, depth = 0): string | undefined {
    const { presented, check, trusted, seen } = search
    seen.add(certificate.fingerprint256)
    const checked = check(certificate, depth)
    if (checked !== undefined) return checked === isTrusted ? undefined : checked

    let verdict: string | undefined
    let isFound = this.#isAnchor(certificate)
    for (const issuer of isFound ? [] : [...this.#anchors, ...presented]) {
      // Each certificate is looked at once: certificates may have issued each other.
      if (seen.has(issuer.fingerprint256) || !this.#hasIssued(issuer, certificate)) continue
      const refused = this.#verdict(issuer, search, depth + 1)
      isFound = refused === undefined
      if (isFound) break
      verdict ??= refused
    }
    if (!isFound) return verdict ?? noIssuer(certificate, depth === 0)
    trusted(certificate)
    return undefined
  }

  #isAnchor(certificate: X509Certificate): boolean {
    if (!this.#partial && !certificate.checkIssued(certificate)) return false
    return this.#anchors.some(({ fingerprint256 }) => fingerprint256 === certificate.fingerprint256)
  }

  #hasIssued(issuer: X509Certificate, certificate: X509Certificate): boolean {
    if (issuer.fingerprint256 === certificate.fingerprint256) return false
    if (!certificate.checkIssued(issuer)) return false
    // Roots of X.509 version 1 have no basicConstraints.
    if (!issuer.ca && !this.#isAnchor(issuer)) return false
    return certificate.verify(issuer.publicKey)
  }
}

/** The trust store of connections under each name. */
interface Trusts {
  readonly trustOf: (servername: string | false | null | undefined) => TrustStore
}

/** Why a verified peer is no longer trusted; undefined if it is. */
export function trustError(ctx: StreamContext, names: Trusts): CioError | undefined {
  const { peer, socket, remote } = ctx
  if (!peer) return undefined
  const { servername } = socket as TLSSocket & { servername?: string | false }
  const issuers = presentedIssuers(socket as TLSSocket)
  const why = names.trustOf(servername).refuses(peer.certificate, issuers)
  if (why === undefined) return undefined
  const name = peer.name === null ? '' : ` (${quote(peer.name)})`
  const message = `${remote}${name} was rejected by \`secure\`: its certificate ${why}`
  return new CioError('ERR_CIO_REJECTED', message, {
    fault: 'remote',
    end: 'untrusted',
    refusal: { step: 'secure', why: 'untrusted', peer: { name: peer.name, verified: true } },
  })
}
