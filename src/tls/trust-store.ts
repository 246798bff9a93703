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
import { RevocationList } from '../identity/revocation-list.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** The options that decide about trust, as in Node's `tls`. */
export type TrustOptions = Pick<SecureContextOptions, 'ca' | 'crl'> & {
  /** Node's option, from 22.9 on: every given certificate is an end of the chain. */
  readonly allowPartialTrustChain?: boolean
}

/**
 * A hash of the trust store: of the contents of `ca` and `crl`. Ticket keys are derived from it, so
 * that a change of trust invalidates them.
 */
export function trustHash({ ca, crl }: { readonly ca?: unknown; readonly crl?: unknown }): Buffer {
  const hash = createHash('sha256')
  for (const list of [ca, crl]) for (const text of texts(list)) hash.update(text).update('\0')
  return hash.update(String(ca === undefined)).digest()
}

function texts(list: unknown): string[] {
  const all = [list].flat() as (string | Buffer | undefined)[]
  return all.flatMap((one) => (one === undefined ? [] : [one.toString()]))
}

const block = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^-]*-----END/g
const longestChain = 16

/** Checks certificates against a set of CAs and revocation lists. */
export class TrustStore {
  readonly #anchors: readonly X509Certificate[]
  readonly #partial: boolean
  readonly #revoked: RevocationList
  readonly #accepted = new Set<string>()

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
    return this.#refuses(leaf, presented, longestChain)
  }

  #refuses(
    certificate: X509Certificate,
    presented: readonly X509Certificate[],
    depth: number,
  ): string | undefined {
    const { fingerprint256, validTo } = certificate
    if (Date.parse(validTo) < Date.now()) return 'has expired, or depends on one that has'
    if (this.#accepted.has(fingerprint256)) return undefined
    if (this.#revoked.has(certificate)) return 'is revoked, or depends on one that is'

    let why: string | undefined = 'leads to no CA that is trusted any more'
    if (this.#isAnchor(certificate)) why = undefined
    else if (depth > 0) {
      for (const issuer of [...this.#anchors, ...presented]) {
        if (!this.#hasIssued(issuer, certificate)) continue
        const refused = this.#refuses(issuer, presented, depth - 1)
        why = refused
        if (refused === undefined) break
      }
    }
    if (why === undefined) this.#accepted.add(fingerprint256)
    return why
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

/** Why a verified peer is not trusted any more, or undefined. */
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
