/**
 * Extracts keys and certificates from PKCS#12 (RFC 7292).
 *
 * Node trusts every certificate in such a file, whatever `ca` says, so the CA that issued our own
 * certificate could vouch for peers. Therefore Cio passes only the key and its chain to Node.
 * Before that, Node has opened the file itself (`checkPfx`), and has checked the passphrase and the
 * integrity.
 */

import { type KeyObject, X509Certificate, createPrivateKey } from 'node:crypto'
import { type Value, octets, read } from './ber.ts'
import { decrypt } from './pkcs12-encryption.ts'

/** A key, and its certificate followed by the intermediates. */
export interface Unpacked {
  readonly key: KeyObject
  readonly chain: readonly X509Certificate[]
}

// Object identifiers, in hexadecimal.
const data = '2a864886f70d010701'
const encryptedData = '2a864886f70d010706'
const keyBag = '2a864886f70d010c0a0101'
const shroudedKeyBag = '2a864886f70d010c0a0102'
const certBag = '2a864886f70d010c0a0103'
const safeContentsBag = '2a864886f70d010c0a0106'
const x509Certificate = '2a864886f70d01091601'

/** @throws if the form is not supported */
export function unpack(file: Buffer, passphrase: string): Unpacked {
  const [, authSafe] = read(file).within()
  const keys: KeyObject[] = []
  const certificates: X509Certificate[] = []
  for (const info of read(contentOf(authSafe!, data)).within()) {
    const [type, holder] = info.within()
    const [content] = holder!.within()
    const bags =
      type!.id === encryptedData ? decryptContent(content!, passphrase) : octets(content!)
    addBags(read(bags), passphrase, keys, certificates)
  }
  const [key] = keys
  const leaf = key && certificates.find((one) => one.checkPrivateKey(key))
  if (!leaf) throw new Error('it has no key with a certificate')
  return { key, chain: chainOf(leaf, certificates) }
}

function addBags(
  contents: Value,
  passphrase: string,
  keys: KeyObject[],
  certificates: X509Certificate[],
): void {
  for (const bag of contents.within()) {
    const [type, holder] = bag.within()
    const [value] = holder!.within()
    if (type!.id === keyBag || type!.id === shroudedKeyBag) {
      keys.push(createPrivateKey({ key: value!.whole, format: 'der', type: 'pkcs8', passphrase }))
    } else if (type!.id === certBag) {
      const [kind, wrapped] = value!.within()
      const [content] = wrapped!.within()
      if (kind!.id === x509Certificate) certificates.push(new X509Certificate(octets(content!)))
    } else if (type!.id === safeContentsBag) {
      addBags(value!, passphrase, keys, certificates)
    }
  }
}

/** The leaf, followed by the issuer of each certificate, without the root. */
function chainOf(leaf: X509Certificate, all: readonly X509Certificate[]): X509Certificate[] {
  const chain = [leaf]
  for (;;) {
    const last = chain.at(-1)!
    const issuer = all.find(
      (one) => !chain.includes(one) && last.checkIssued(one) && last.verify(one.publicKey),
    )
    if (!issuer || issuer.checkIssued(issuer)) return chain
    chain.push(issuer)
  }
}

/** EncryptedData of RFC 5652, section 8. */
function decryptContent(content: Value, passphrase: string): Buffer {
  const [, info] = content.within()
  const [, algorithm, encrypted] = info!.within()
  return decrypt(algorithm!, octets(encrypted!), passphrase)
}

function contentOf(info: Value, expected: string): Buffer {
  const [type, holder] = info.within()
  if (type?.id !== expected) throw new Error('its content is signed, or of another kind')
  return octets(holder!.within()[0]!)
}
