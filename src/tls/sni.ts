/** SNI: certificates by the host name that a client requests. */

import { constants } from 'node:crypto'
import { type SecureContext, createSecureContext } from 'node:tls'
import { domainToASCII } from 'node:url'
import type { CertificateOptions } from './certificates.ts'
import { CioError, quote } from '../errors.ts'
import { revealed } from '../lifecycle/secret-options.ts'
import type { TlsServerOptions } from './tls-options.ts'
import { TrustStore, type TrustOptions, checkLists, trustHash } from './trust-store.ts'

const hostName = /^(?:\*\.)?[a-z\d_-]+(?:\.[a-z\d_-]+)*$/

/**
 * The canonical form of a name: lower case, ASCII, without the trailing dot. Undefined if it is
 * neither a host name nor a wildcard (`*.` and a host name).
 */
export function canonicalName(name: string): string | undefined {
  const wild = name.startsWith('*.')
  const rest = domainToASCII(wild ? name.slice(2) : name).replace(/\.$/, '')
  const canonical = (wild ? '*.' : '') + rest
  return hostName.test(canonical) ? canonical : undefined
}

const letters = /^[a-z\d._-]+$/i

/** The canonical form of the name that a client requests; null without a valid name. */
export function serverNameOf(name: string | false | null | undefined): string | null {
  return (name && letters.test(name) && canonicalName(name)) || null
}

/** The trust store of a name: its own CAs and lists, or those of the server. */
function trustOptions(options: TlsServerOptions, named?: CertificateOptions): TrustOptions {
  const { ca, crl, allowPartialTrustChain } = options as TrustOptions
  const own = named as TrustOptions | undefined
  return {
    ...(own?.ca ? { ca: own.ca, crl: own.crl } : { ca, crl: own?.crl ?? crl }),
    ...(allowPartialTrustChain !== undefined && { allowPartialTrustChain }),
  }
}

/** The SNI names of one set of options, with their secure contexts. */
export class ServerNames {
  /** A hash of the trust stores of all names. */
  readonly trustHash: string
  readonly #options: TlsServerOptions
  readonly #certs = new Map<string, CertificateOptions>()
  readonly #contexts = new Map<CertificateOptions | undefined, SecureContext>()
  readonly #trusts = new Map<CertificateOptions | undefined, TrustStore>()

  constructor(options: TlsServerOptions, sessionIdContext: string) {
    this.#options = options
    const { sni = {}, secureOptions = 0 } = options
    for (const [name, named] of Object.entries(sni)) {
      this.#certs.set(canonicalName(name) ?? name, named)
      const settings = {
        honorCipherOrder: true,
        ...options,
        key: undefined,
        cert: undefined,
        pfx: undefined,
        passphrase: undefined,
        ...revealed(named),
        ...trustOptions(options, named),
        ticketKeys: undefined,
        secureOptions: secureOptions | constants.SSL_OP_NO_RENEGOTIATION,
        sessionIdContext,
      }
      this.#contexts.set(named, contextOf(name, settings))
    }
    const certs = [undefined, ...this.#certs.values()]
    const trusts = certs.map((named) => trustOptions(options, named))
    for (const trust of trusts) checkLists(trust)
    const hashes = trusts.map(trustHash)
    this.trustHash = Buffer.concat(hashes).toString('hex')
  }

  /** For Node's `SNICallback`: no context means the server's own. */
  find(servername: string, done: (error: Error | null, context?: SecureContext) => void): void {
    const named = this.#certsOf(servername)
    if (named || !this.#options.strictSni) return done(null, this.#contexts.get(named))
    done(new Error(`it asked for ${quote(servername)}, which is no name in \`sni\``))
  }

  /** The trust store for connections under a name. */
  trustOf(servername: string | false | null | undefined): TrustStore {
    const named = this.#certsOf(servername)
    const known = this.#trusts.get(named)
    if (known) return known
    const trust = new TrustStore(trustOptions(this.#options, named))
    this.#trusts.set(named, trust)
    return trust
  }

  /** An exact name takes precedence over a wildcard, which matches one label. */
  #certsOf(servername: string | false | null | undefined): CertificateOptions | undefined {
    if (!servername || this.#certs.size === 0) return undefined
    const name = servername.toLowerCase().replace(/\.$/, '')
    const dot = name.indexOf('.')
    return this.#certs.get(name) ?? (dot > 0 ? this.#certs.get(`*${name.slice(dot)}`) : undefined)
  }
}

function contextOf(name: string, settings: object): SecureContext {
  try {
    return createSecureContext(settings)
  } catch (cause) {
    const message = `certs: what \`sni\` has for \`${name}\` cannot be used: ${(cause as Error).message}`
    throw new CioError('ERR_CIO_CERTIFICATE', message, { cause })
  }
}

/**
 * Whether a session of one name must not be resumed under another. OpenSSL resumes a session under
 * any name, without calling the callback. The certificate in it counts as verified, although the
 * CAs that verified it may not be trusted under the other name.
 */
export function namesDiffer(options: TlsServerOptions): boolean {
  const { sni = {}, SNICallback, requestCert, strictSni } = options
  if (strictSni || (SNICallback && requestCert)) return true
  const own = trustHash(options)
  return Object.values(sni).some((named) => !trustHash(trustOptions(options, named)).equals(own))
}
