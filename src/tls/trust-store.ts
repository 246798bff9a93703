/**
 * Who is trusted: the CAs and revocation lists of a server, and what becomes of a certificate that
 * was verified once, when they change.
 *
 * Node verifies in a handshake and nowhere else. So a verified chain is gone through once more with
 * what its X509Certificate has: who issued whom, by name and by signature, up to a CA that is
 * trusted now; that no date has passed; and that nobody on the way is on a list. What a handshake
 * checks beyond that (purposes, path lengths, name constraints, the dates of lists) is left to the
 * next handshake.
 */

import { X509Certificate, createHash } from 'node:crypto'
import { type SecureContextOptions, type TLSSocket, rootCertificates } from 'node:tls'
import { CioError, quote } from '../errors.ts'
import { presentedIssuers } from '../identity/peer-certificate.ts'
import { RevocationList } from '../identity/revocation-list.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** What decides about trust, as Node's `tls` takes it. */
export type TrustOptions = Pick<SecureContextOptions, 'ca' | 'crl'> & {
  /** Node's option, from 22.9 on: every given certificate is an end of the chain. */
  readonly allowPartialTrustChain?: boolean
}

/**
 * A hash of who is trusted: of the contents of `ca` and `crl`. What has to die with a change of
 * trust, such as a key of tickets, is made of it.
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

/** Judges certificates by a set of CAs and revocation lists. */
export class TrustStore {
  readonly #anchors: readonly X509Certificate[]
  readonly #partial: boolean
  readonly #revoked: RevocationList
  readonly #accepted = new Set<string>()

  /** @throws where a certificate or list cannot be read */
  constructor({ ca, crl, allowPartialTrustChain = false }: TrustOptions) {
    this.#revoked = new RevocationList(texts(crl))
    const pem = ca === undefined ? rootCertificates : texts(ca)
    this.#partial = allowPartialTrustChain
    this.#anchors = pem
      .flatMap((text) => text.match(block) ?? [])
      .map((one) => new X509Certificate(`${one} CERTIFICATE-----\n`.replace(/(TRUSTED|X509) /, '')))
  }

  /**
   * Why a certificate that came out of a handshake would not be accepted now, by the intermediates
   * that it came with; undefined if it would.
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
    // Roots of the first version of X.509 say nothing about being one.
    if (!issuer.ca && !this.#isAnchor(issuer)) return false
    return certificate.verify(issuer.publicKey)
  }
}

/** Who is trusted on connections under each name. */
interface Trusts {
  readonly trustOf: (servername: string | false | null | undefined) => TrustStore
}

/** Why a peer that was verified would not be any more, or undefined. */
export function trustError(ctx: StreamContext, names: Trusts): CioError | undefined {
  const { peer, socket, remote } = ctx
  if (!peer) return undefined
  const { servername } = socket as TLSSocket & { servername?: string | false }
  const issuers = presentedIssuers(socket as TLSSocket)
  const why = names.trustOf(servername).refuses(peer.certificate, issuers)
  if (why === undefined) return undefined
  const name = peer.name === null ? '' : ` (${quote(peer.name)})`
  const message = `${remote}${name} was turned away by \`secure\`: its certificate ${why}`
  return new CioError('ERR_CIO_REJECTED', message, {
    fault: 'remote',
    end: 'untrusted',
    refusal: { step: 'secure', why: 'untrusted', peer: { name: peer.name, verified: true } },
  })
}
