/** Reads and checks the TLS material that `certs` passes to Node. */

import type { SecureContextOptions } from 'node:tls'
import type { EvictOptions } from '../lifecycle/evict.ts'
import {
  checkCrl,
  checkDates,
  checkKinds,
  checkPairs,
  checkParameters,
  checkPfx,
  parseCertificates,
  parseKey,
  parsePfx,
  splitLists,
} from './certificates/check.ts'
import {
  type CertSource,
  type KeySources,
  type Sources,
  checkPassphrase,
  load,
  loadAll,
} from './certificates/source.ts'

/** Keys, certificates and trusted CAs. Paths are relative to the working directory. */
export interface CertFilesOptions {
  /** Private keys, in PEM. Without it, Cio takes the key in `pfx`, if any. */
  readonly key?: KeySources
  /**
   * Certificates, in PEM, each followed by its intermediates; one for each key. Without it, Cio
   * takes the certificate in `pfx`, if any.
   */
  readonly cert?: Sources
  /** Trusted CA certificates, in PEM. Without it, Cio trusts the CAs that come with Node. */
  readonly ca?: Sources
  /** Keys with their certificates, in PKCS#12. Without it, Cio takes `key` and `cert`. */
  readonly pfx?: KeySources
  /**
   * Revocation lists, in PEM: one for each CA of a chain. Without it, no certificate counts as
   * revoked.
   */
  readonly crl?: Sources
  /**
   * Diffie-Hellman parameters, in PEM, or `'auto'`. Used only by servers before TLS 1.3. Without
   * it, there are no DHE ciphers.
   */
  readonly dhparam?: CertSource
  /**
   * The passphrase of all keys and PKCS#12 files without their own. Without it, these are not
   * encrypted.
   */
  readonly passphrase?: string
  /** Another name of `key`, from cio 0.5. */
  readonly private?: KeySources
  /** Another name of `cert`, from cio 0.5. */
  readonly public?: Sources
  /** Another name of `ca`, from cio 0.5. */
  readonly root?: Sources
}

/** Keys and certificates of a server, and how they change while it runs. */
export interface CertificateOptions extends CertFilesOptions, EvictOptions {
  /**
   * Keys and certificates by the host name that a client requests (SNI). `*.example` matches one
   * label in place of the star; an exact name takes precedence. A name without its own `ca` trusts
   * the CAs of the server. Without it, all names get the same certificate.
   */
  readonly sni?: Readonly<Record<string, CertFilesOptions>>
  /**
   * Rejects a client that requests a name not in `sni`, or no name, instead of presenting the
   * server's default certificate.
   *
   * @default false
   */
  readonly strictSni?: boolean
  /**
   * Hot reload: checks whether a file has changed, and reloads. `true` checks every second; a
   * number is the interval in milliseconds.
   *
   * @default false
   */
  readonly watch?: boolean | number
  /**
   * A signal of the operating system that reloads the files, such as `'SIGHUP'`. Without it, no
   * signal does.
   */
  readonly reloadSignal?: NodeJS.Signals
}

/**
 * The material of a TLS context, read and checked, under Node's names. The contents of `pfx` are in
 * `key` and `cert`.
 */
export type CertsMaterial = Pick<
  SecureContextOptions,
  'key' | 'cert' | 'ca' | 'crl' | 'dhparam' | 'passphrase'
>

/**
 * Reads and checks the options of `certs`.
 *
 * @throws `ERR_CIO_CERTIFICATE`, and `ERR_CIO_OPTION` for a value of an unsupported type
 */
export async function loadCerts(sources: CertFilesOptions): Promise<CertsMaterial> {
  const { passphrase, dhparam } = sources
  checkPassphrase(passphrase)
  const [key, cert, ca, pfx, lists] = await Promise.all([
    loadAll('key', sources.key),
    loadAll('cert', sources.cert),
    loadAll('ca', sources.ca),
    loadAll('pfx', sources.pfx),
    loadAll('crl', sources.crl),
  ])
  const dh = dhparam === undefined || dhparam === 'auto' ? dhparam : await load('dhparam', dhparam)

  const keys = key.map((one) => parseKey(one, one.passphrase ?? passphrase))
  const chains = cert.map((one) => parseCertificates('cert', one))
  const leaves = chains.map(([leaf]) => leaf!)
  checkPairs(key, keys, cert, chains)
  for (const [index, leaf] of leaves.entries()) checkDates('cert', cert[index]!, leaf)
  for (const one of ca) parseCertificates('ca', one)
  const crl = lists.flatMap(splitLists)
  const unpacked = pfx.map((one) => {
    checkPfx(one, one.passphrase ?? passphrase)
    return parsePfx(one, one.passphrase ?? passphrase)
  })
  checkKinds([...cert, ...pfx], [...leaves, ...unpacked.map(({ chain }) => chain[0]!)])
  for (const one of crl) checkCrl(one)
  if (typeof dh === 'object') checkParameters(dh)

  return {
    ...(key.length + pfx.length > 0 && {
      key: [
        ...key.map(({ content, passphrase: own }) => secret(content, own)),
        ...unpacked.map((one) => Buffer.from(one.key.export({ type: 'pkcs8', format: 'pem' }))),
      ],
      cert: [
        ...cert.map(({ content }) => content),
        ...unpacked.map(({ chain }) => Buffer.from(chain.join(''))),
      ],
    }),
    ...(ca.length > 0 && { ca: ca.map(({ content }) => content) }),
    ...(crl.length > 0 && { crl: crl.map(({ content }) => content) }),
    ...(dh !== undefined && { dhparam: typeof dh === 'string' ? dh : dh.content }),
    ...(passphrase !== undefined && { passphrase }),
  } as CertsMaterial
}

function secret(pem: Buffer, passphrase: string | undefined): object | Buffer {
  return passphrase === undefined ? pem : { pem, passphrase }
}
