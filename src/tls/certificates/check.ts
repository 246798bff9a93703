/** Checks the files that `certs` has read. Each function throws `ERR_CIO_CERTIFICATE`. */

import { type KeyObject, X509Certificate, createPrivateKey } from 'node:crypto'
import { Duplex } from 'node:stream'
import { type SecureContextOptions, TLSSocket, createSecureContext } from 'node:tls'
import { listDefect } from '../../identity/revocation-list.ts'
import { type Unpacked, unpack } from './pkcs12.ts'
import { type Loaded, certificateError } from './source.ts'

/** Decrypts and parses a key. */
export function parseKey(loaded: Loaded, passphrase: string | undefined): KeyObject {
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
    throw certificateError('key', loaded.from, what, cause)
  }
}

const certificateBlock =
  /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[^]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g

/** All certificates of a PEM file, the leaf first. */
export function parseCertificates(option: string, loaded: Loaded): X509Certificate[] {
  checkPem(option, loaded, 'CERTIFICATE')
  const blocks = loaded.content.toString('latin1').match(certificateBlock) ?? []
  try {
    if (blocks.length > 0) return blocks.map((block) => new X509Certificate(block))
  } catch (cause) {
    throw certificateError(option, loaded.from, 'holds something that is not a certificate', cause)
  }
  throw certificateError(option, loaded.from, 'holds a certificate that is cut off')
}

function checkPem(option: string, { content, from }: Loaded, kind: string): void {
  if (content.length === 0) throw certificateError(option, from, 'is empty')
  const [, found] = /-----BEGIN ([A-Z0-9. ]+)-----/.exec(content.toString('latin1')) ?? []
  if (found === undefined) {
    const what = content[0] === 0x30 ? 'is in DER; convert it to PEM' : 'is not in PEM'
    throw certificateError(option, from, what)
  }
  if (!content.includes(`${kind}-----`)) {
    throw certificateError(option, from, `holds a ${found}, where a ${kind} belongs`)
  }
}

/** Checks that each certificate has its key, and each key its certificate. */
export function checkPairs(
  key: readonly Loaded[],
  keys: readonly KeyObject[],
  cert: readonly Loaded[],
  chains: readonly (readonly X509Certificate[])[],
): void {
  const leaves = chains.map(([leaf]) => leaf!)
  const hasKey = (one: X509Certificate): boolean => keys.some((each) => one.checkPrivateKey(each))
  if (keys.length === 0 && leaves.length > 0) {
    throw certificateError('cert', cert[0]!.from, 'has no `key` with it')
  }
  for (const [index, leaf] of leaves.entries()) {
    if (hasKey(leaf)) continue
    if (chains[index]!.some(hasKey)) {
      throw certificateError(
        'cert',
        cert[index]!.from,
        'begins with another certificate than that of the key',
      )
    }
    const tried = key.map(({ from }) => `\`key\` (${from})`).join(', ')
    throw certificateError('cert', cert[index]!.from, `does not belong to ${tried}`)
  }
  for (const [index, one] of keys.entries()) {
    if (leaves.some((leaf) => leaf.checkPrivateKey(one))) continue
    const what =
      leaves.length === 0 ? 'has no `cert` with it' : 'belongs to none of the certificates'
    throw certificateError('key', key[index]!.from, what)
  }
}

/**
 * Node uses only the last certificate for each type of key, and then reports that the first key
 * does not match.
 */
export function checkKinds(cert: readonly Loaded[], leaves: readonly X509Certificate[]): void {
  const kinds = new Map<string | undefined, string>()
  for (const [index, { publicKey }] of leaves.entries()) {
    const { from } = cert[index]!
    const kind = publicKey.asymmetricKeyType
    const other = kinds.get(kind)
    if (other !== undefined) {
      throw certificateError(
        'cert',
        from,
        `has a key of the same kind (${kind}) as ${other}; TLS takes one`,
      )
    }
    kinds.set(kind, from)
  }
}

/** Checks that our own certificate is valid now. */
export function checkDates(
  option: string,
  { from }: Loaded,
  { validFrom, validTo }: X509Certificate,
): void {
  const now = Date.now()
  if (Date.parse(validTo) < now) throw certificateError(option, from, `expired on ${validTo}`)
  if (Date.parse(validFrom) > now)
    throw certificateError(option, from, `is not valid before ${validFrom}`)
}

/** Checks that a PKCS#12 file can be opened, and that its certificate is valid now. */
export function checkPfx(loaded: Loaded, passphrase: string | undefined): void {
  const secureContext = attempt('pfx', loaded, openErrorOf, {
    pfx: [{ buf: loaded.content, ...(passphrase !== undefined && { passphrase }) }],
  })
  // Only a TLS socket shows which certificate it would present.
  const socket = new TLSSocket(new Duplex(), { isServer: true, secureContext })
  const certificate = socket.getX509Certificate()
  socket.destroy()
  if (!certificate) throw certificateError('pfx', loaded.from, 'holds no certificate')
  checkDates('pfx', loaded, certificate)
}

/** OpenSSL checks the passphrase first, so a later failure to decrypt has another cause. */
function openErrorOf({ code }: NodeJS.ErrnoException): string {
  if (code !== 'ERR_CRYPTO_UNSUPPORTED_OPERATION') {
    return 'cannot be opened: it is not PKCS#12, or the `passphrase` is missing or wrong'
  }
  return `is encrypted in a way that OpenSSL ${process.versions.openssl} does not read, as files from before OpenSSL 3 are; convert it with \`openssl pkcs12 -legacy -in old.p12 -out all.pem\` and \`openssl pkcs12 -export -in all.pem -out new.p12\``
}

/** Parses the key and the chain of a PKCS#12 file that `checkPfx` has opened. */
export function parsePfx(loaded: Loaded, passphrase = ''): Unpacked {
  try {
    return unpack(loaded.content, passphrase)
  } catch (cause) {
    const what = `has a form that Cio does not read (${(cause as Error).message}); give its \`key\` and \`cert\` in PEM, which \`openssl pkcs12 -nodes\` exports from it`
    throw certificateError('pfx', loaded.from, what, cause)
  }
}

const listBlock = /-----BEGIN X509 CRL-----[^]*?-----END X509 CRL-----/g

/** Splits a file into its revocation lists, because Node reads only the first one. */
export function splitLists(loaded: Loaded): Loaded[] {
  const lists = loaded.content.toString('latin1').match(listBlock) ?? []
  if (lists.length < 2) return [loaded]
  return lists.map((list) => ({ ...loaded, content: Buffer.from(`${list}\n`) }))
}

/** Checks that OpenSSL can read a revocation list, and would count its entries. */
export function checkCrl(loaded: Loaded): void {
  attempt('crl', loaded, 'is not a revocation list in PEM', { crl: loaded.content })
  const defect = listDefect(loaded.content.toString('latin1'))
  if (defect === undefined) return
  throw certificateError('crl', loaded.from, defect)
}

/** Checks Diffie-Hellman parameters, because Node silently accepts invalid ones. */
export function checkParameters(loaded: Loaded): void {
  checkPem('dhparam', loaded, 'DH PARAMETERS')
  attempt('dhparam', loaded, 'is not Diffie-Hellman parameters', { dhparam: loaded.content })
}

function attempt(
  option: string,
  { from }: Loaded,
  what: string | ((cause: Error) => string),
  options: SecureContextOptions,
): ReturnType<typeof createSecureContext> {
  try {
    return createSecureContext(options)
  } catch (thrown) {
    const cause = thrown as Error
    const why = typeof what === 'string' ? what : what(cause)
    throw certificateError(option, from, `${why} (${cause.message})`, cause)
  }
}
