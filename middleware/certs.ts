import debug from 'debug'
import { type KeyObject, X509Certificate, createPrivateKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Duplex } from 'node:stream'
import { type SecureContextOptions, TLSSocket, createSecureContext } from 'node:tls'
import { fileURLToPath } from 'node:url'
import type { ClientContext } from '../src/client.ts'
import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/middleware.ts'
import { checkKnown, optionError } from '../src/option.ts'
import type { ServerContext } from '../src/server.ts'

const log = debug('cio:certs')

/** A file's path, a `file:` URL, PEM text, or the contents themselves. */
export type CertSource = string | URL | Buffer

/** A key or PKCS#12 file with a passphrase of its own; Node's names. */
export interface KeySource {
  readonly pem?: CertSource
  readonly buf?: CertSource
  readonly passphrase?: string
}

type Sources = CertSource | readonly CertSource[]
type KeySources = CertSource | KeySource | readonly (CertSource | KeySource)[]

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
      ctx.options = { ...ctx.options, ...(await loadCerts(sources)) } as typeof ctx.options
      return next()
    },
  )
}

/**
 * Reads and checks what {@link certs} is given.
 *
 * @throws `ERR_CIO_CERTIFICATE`
 */
export async function loadCerts(sources: CertsOptions): Promise<CertsMaterial> {
  const { passphrase, dhparam } = sources
  const [key, cert, ca, pfx, crl] = await Promise.all([
    loadAll('key', sources.key),
    loadAll('cert', sources.cert),
    loadAll('ca', sources.ca),
    loadAll('pfx', sources.pfx),
    loadAll('crl', sources.crl),
  ])
  const dh = dhparam === undefined || dhparam === 'auto' ? dhparam : await load('dhparam', dhparam)

  const keys = key.map((one) => parseKey(one, one.passphrase ?? passphrase))
  const leaves = cert.map((one) => parseCertificates('cert', one)[0]!)
  checkPairs(key, keys, cert, leaves)
  for (const [index, leaf] of leaves.entries()) checkDates('cert', cert[index]!, leaf)
  for (const one of ca) parseCertificates('ca', one)
  for (const one of pfx) checkPfx(one, one.passphrase ?? passphrase)
  for (const one of crl)
    attempt('crl', one, 'is not a revocation list in PEM', { crl: one.content })
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

/** What was read, and how to call it in an error. */
interface Loaded {
  readonly content: Buffer
  readonly from: string
  readonly passphrase?: string | undefined
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

async function loadAll(option: string, sources: KeySources | undefined): Promise<Loaded[]> {
  if (sources === undefined) return []
  const all = Array.isArray(sources) ? (sources as (CertSource | KeySource)[]) : [sources]
  return Promise.all(all.map((source) => load(option, source as CertSource | KeySource)))
}

async function load(option: string, source: CertSource | KeySource): Promise<Loaded> {
  if (Buffer.isBuffer(source)) return { content: source, from: 'as given' }
  if (source instanceof URL) return readFrom(option, fileURLToPath(source))
  if (typeof source === 'string') {
    if (source.includes('-----BEGIN')) return { content: Buffer.from(source), from: 'as given' }
    return readFrom(option, source.startsWith('file:') ? fileURLToPath(source) : resolve(source))
  }
  const inner = source?.pem ?? source?.buf
  if (inner !== undefined) return { ...(await load(option, inner)), passphrase: source.passphrase }
  throw optionError(
    'certs',
    option,
    'a path, a file: URL, PEM text, a Buffer, or an array of these',
    source,
  )
}

async function readFrom(option: string, path: string): Promise<Loaded> {
  log('reads %s from %s', option, path)
  try {
    return { content: await readFile(path), from: path }
  } catch (cause) {
    throw broken(option, path, `cannot be read: ${(cause as Error).message}`, cause)
  }
}

function parseKey(loaded: Loaded, passphrase: string | undefined): KeyObject {
  checkPem('key', loaded, 'PRIVATE KEY')
  try {
    return createPrivateKey({
      key: loaded.content,
      ...(passphrase !== undefined && { passphrase }),
    })
  } catch (cause) {
    const locked = loaded.content.includes('ENCRYPTED')
    const what = locked
      ? passphrase === undefined
        ? 'is encrypted; give its `passphrase`'
        : 'cannot be decrypted with the `passphrase` that was given'
      : 'is not a private key in PEM'
    throw broken('key', loaded.from, what, cause)
  }
}

const certificateBlock =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g

/** All certificates of a PEM file, the leaf first. */
function parseCertificates(option: string, loaded: Loaded): X509Certificate[] {
  checkPem(option, loaded, 'CERTIFICATE')
  const blocks = loaded.content.toString('latin1').match(certificateBlock) ?? []
  try {
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block))
  } catch (cause) {
    throw broken(option, loaded.from, 'holds something that is not a certificate', cause)
  }
  throw broken(option, loaded.from, 'holds a certificate that is cut off')
}

function checkPem(option: string, { content, from }: Loaded, kind: string): void {
  if (content.length === 0) throw broken(option, from, 'is empty')
  const [, found] = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(content.toString('latin1')) ?? []
  if (found === undefined) {
    const what = content[0] === 0x30 ? 'is in DER; convert it to PEM' : 'is not in PEM'
    throw broken(option, from, what)
  }
  if (!content.includes(`${kind}-----`)) {
    throw broken(option, from, `holds a ${found}, where a ${kind} belongs`)
  }
}

/** Each certificate has its key, and each key its certificate. */
function checkPairs(
  key: readonly Loaded[],
  keys: readonly KeyObject[],
  cert: readonly Loaded[],
  leaves: readonly X509Certificate[],
): void {
  if (keys.length === 0 && leaves.length > 0) {
    throw broken('cert', cert[0]!.from, 'has no `key` with it')
  }
  for (const [index, leaf] of leaves.entries()) {
    if (keys.some((one) => leaf.checkPrivateKey(one))) continue
    const tried = key.map(({ from }) => `\`key\` (${from})`).join(', ')
    throw broken('cert', cert[index]!.from, `does not belong to ${tried}`)
  }
  for (const [index, one] of keys.entries()) {
    if (leaves.some((leaf) => leaf.checkPrivateKey(one))) continue
    const what =
      leaves.length === 0 ? 'has no `cert` with it' : 'belongs to none of the certificates'
    throw broken('key', key[index]!.from, what)
  }
}

function checkDates(
  option: string,
  { from }: Loaded,
  { validFrom, validTo }: X509Certificate,
): void {
  const now = Date.now()
  if (Date.parse(validTo) < now) throw broken(option, from, `expired on ${validTo}`)
  if (Date.parse(validFrom) > now) throw broken(option, from, `is not valid before ${validFrom}`)
}

function checkPfx(loaded: Loaded, passphrase: string | undefined): void {
  const what = 'cannot be opened: it is not PKCS#12, or the `passphrase` is missing or wrong'
  const secureContext = attempt('pfx', loaded, what, {
    pfx: [secret('buf', loaded.content, passphrase)],
  } as SecureContextOptions)
  // Only a TLS socket tells which certificate it would present.
  const socket = new TLSSocket(new Duplex(), { isServer: true, secureContext })
  const certificate = socket.getX509Certificate()
  socket.destroy()
  if (!certificate) throw broken('pfx', loaded.from, 'holds no certificate')
  checkDates('pfx', loaded, certificate)
}

/** Node takes parameters that are none in silence. */
function checkParameters(loaded: Loaded): void {
  checkPem('dhparam', loaded, 'DH PARAMETERS')
  attempt('dhparam', loaded, 'is not Diffie-Hellman parameters', { dhparam: loaded.content })
}

function attempt(
  option: string,
  { from }: Loaded,
  what: string,
  options: SecureContextOptions,
): ReturnType<typeof createSecureContext> {
  try {
    return createSecureContext(options)
  } catch (cause) {
    throw broken(option, from, `${what} (${(cause as Error).message})`, cause)
  }
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

function broken(option: string, from: string, what: string, cause?: unknown): CioError {
  return new CioError('ERR_CIO_CERTIFICATE', `certs: \`${option}\` (${from}) ${what}`, { cause })
}
