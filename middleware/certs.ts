import type { SecureContextOptions } from 'node:tls'
import type { ClientContext } from '../src/client.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/middleware.ts'
import { checkKnown } from '../src/option.ts'
import type { ServerContext } from '../src/server.ts'
import {
  checkCrl,
  checkDates,
  checkKinds,
  checkPairs,
  checkParameters,
  checkPfx,
  parseCertificates,
  parseKey,
} from './certs/check.ts'
import {
  type CertSource,
  type KeySources,
  type Sources,
  checkPassphrase,
  load,
  loadAll,
} from './certs/source.ts'

export type { CertSource, KeySource } from './certs/source.ts'

/** Options of {@link certs}. Paths are relative to the working directory. */
export interface CertsOptions {
  /** Private keys, in PEM. */
  readonly key?: KeySources
  /** Certificates, in PEM, each followed by its intermediates; one for each key. */
  readonly cert?: Sources
  /** Whose certificates are trusted, in PEM. Without it, those that come with Node. */
  readonly ca?: Sources
  /** Keys with their certificates, in PKCS#12. */
  readonly pfx?: KeySources
  /** Revocation lists, in PEM: one for each CA of a chain. */
  readonly crl?: Sources
  /** Diffie-Hellman parameters, in PEM, or `'auto'`. Only servers before TLS 1.3 have a use for it. */
  readonly dhparam?: CertSource
  /** Of all keys and PKCS#12 files that bring none of their own. */
  readonly passphrase?: string
  /** Another name of `key`, from cio 0.5. */
  readonly private?: KeySources
  /** Another name of `cert`, from cio 0.5. */
  readonly public?: Sources
  /** Another name of `ca`, from cio 0.5. */
  readonly root?: Sources
}

/** The material of a TLS context, read and checked, under Node's names. */
export type CertsMaterial = Pick<
  SecureContextOptions,
  'key' | 'cert' | 'ca' | 'pfx' | 'crl' | 'dhparam' | 'passphrase'
>

const aliases = { private: 'key', public: 'cert', root: 'ca' } as const
const names = ['key', 'cert', 'ca', 'pfx', 'crl', 'dhparam', 'passphrase'] as const

/**
 * Loads and checks keys and certificates, for a server or a client.
 *
 * Cio has one of these in both pipelines already, for what is given to `listen()` and `connect()`;
 * a registered one takes its place, and what is given there goes before what is given here. All is
 * read once, before listening and connecting, and whatever is wrong is found then: a file that
 * cannot be read, or is not what it should be, a key that does not belong to its certificate, a
 * certificate that has expired or is not yet valid. Passphrases appear in no error and no log.
 *
 * @pipelines server, client
 * @order first; it takes the place of the step of the same name
 * @adds nothing; puts the contents of files into `ctx.options`
 * @rejects `ERR_CIO_CERTIFICATE` (app): something is wrong; names the option and the file
 * @throws `ERR_CIO_OPTION`: an option is unknown, or given under both its names
 *
 * @example
 * import { Cio, certs } from 'cio'
 *
 * const app = new Cio()
 *   .useServer(certs({ key: 'server.key', cert: 'server.crt', ca: 'ca.crt' }))
 *   .useClient(certs({ key: 'alice.key', cert: 'alice.crt', ca: 'ca.crt' }))
 */
export function certs(options: CertsOptions = {}): Middleware<ServerContext | ClientContext> {
  checkKnown('certs', options, [...names, ...Object.keys(aliases)])
  const given = rename(options)

  return defineMiddleware<ServerContext | ClientContext>(
    { name: 'certs' },
    async function certs(ctx, next) {
      const sources = { ...given, ...rename(ctx.options) }
      const renamed: object = { private: undefined, public: undefined, root: undefined }
      const material = await loadCerts(sources)
      ctx.options = { ...ctx.options, ...renamed, ...material } as typeof ctx.options
      return next()
    },
  )
}

/**
 * Reads and checks what {@link certs} is given.
 *
 * @throws `ERR_CIO_CERTIFICATE`, and `ERR_CIO_OPTION` for a value of no kind that is known
 */
export async function loadCerts(sources: CertsOptions): Promise<CertsMaterial> {
  const { passphrase, dhparam } = sources
  checkPassphrase(passphrase)
  const [key, cert, ca, pfx, crl] = await Promise.all([
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
  checkKinds(cert, leaves)
  for (const [index, leaf] of leaves.entries()) checkDates('cert', cert[index]!, leaf)
  for (const one of ca) parseCertificates('ca', one)
  for (const one of pfx) checkPfx(one, one.passphrase ?? passphrase)
  for (const one of crl) checkCrl(one)
  if (typeof dh === 'object') checkParameters(dh)

  return {
    ...(key.length > 0 && {
      key: key.map(({ content, passphrase: own }) => secret('pem', content, own)),
    }),
    ...(cert.length > 0 && { cert: cert.map(({ content }) => content) }),
    ...(ca.length > 0 && { ca: ca.map(({ content }) => content) }),
    ...(pfx.length > 0 && {
      pfx: pfx.map(({ content, passphrase: own }) => secret('buf', content, own)),
    }),
    ...(crl.length > 0 && { crl: crl.map(({ content }) => content) }),
    ...(dh !== undefined && { dhparam: typeof dh === 'string' ? dh : dh.content }),
    ...(passphrase !== undefined && { passphrase }),
  } as CertsMaterial
}

function rename(options: CertsOptions): CertsOptions {
  const renamed: Record<string, unknown> = {}
  for (const name of names) if (options[name] !== undefined) renamed[name] = options[name]
  for (const [alias, name] of Object.entries(aliases)) {
    const value = options[alias as keyof typeof aliases]
    if (value === undefined) continue
    if (renamed[name] !== undefined) {
      throw new CioError(
        'ERR_CIO_OPTION',
        `certs: \`${alias}\` is another name of \`${name}\`, and both are given; leave one out`,
      )
    }
    renamed[name] = value
  }
  return renamed
}

function secret(
  name: 'pem' | 'buf',
  content: Buffer,
  passphrase: string | undefined,
): object | Buffer {
  return passphrase === undefined && name === 'pem'
    ? content
    : { [name]: content, ...(passphrase !== undefined && { passphrase }) }
}

export { certs as default }
