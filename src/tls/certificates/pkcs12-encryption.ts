/**
 * Decrypts the contents of a PKCS#12 file by the passphrase: PBES2, and the older Triple DES
 * scheme.
 */

import { createDecipheriv, createHash, pbkdf2Sync } from 'node:crypto'
import { type Value, octets } from './ber.ts'

// Object identifiers, in hexadecimal.
const pbes2 = '2a864886f70d01050d'
const pbkdf2 = '2a864886f70d01050c'
const hmacs: Readonly<Record<string, string>> = {
  '2a864886f70d0207': 'sha1',
  '2a864886f70d0208': 'sha224',
  '2a864886f70d0209': 'sha256',
  '2a864886f70d020a': 'sha384',
  '2a864886f70d020b': 'sha512',
}
/** Cipher names, and key sizes in bytes. */
const ciphers: Readonly<Record<string, readonly [string, number]>> = {
  '2a864886f70d0307': ['des-ede3-cbc', 24],
  '608648016503040102': ['aes-128-cbc', 16],
  '608648016503040116': ['aes-192-cbc', 24],
  '60864801650304012a': ['aes-256-cbc', 32],
}
/** Key sizes in bytes, for SHA-1 with Triple DES. */
const tripleDes: Readonly<Record<string, number>> = {
  '2a864886f70d010c0103': 24,
  '2a864886f70d010c0104': 16,
}
const sequence = 0x30

/** @throws if the encryption is not supported */
export function decrypt(algorithm: Value, encrypted: Buffer, passphrase: string): Buffer {
  const [type, parameters] = algorithm.within()
  if (type!.id === pbes2) return decryptByPbes2(parameters!, encrypted, passphrase)
  const keySize = tripleDes[type!.id]
  if (keySize === undefined) throw unsupported(type!)
  const [salt, iterations] = parameters!.within()
  const open = (password: Buffer): Buffer => {
    const derive = (purpose: number, size: number): Buffer =>
      derivePkcs12(password, octets(salt!), numberOf(iterations!), purpose, size)
    const key = derive(1, keySize)
    // With two-key Triple DES, the first key is used again as the third.
    const whole = Buffer.concat([key, key]).subarray(0, 24)
    return decipher('des-ede3-cbc', whole, derive(2, 8), encrypted)
  }
  const wide = Buffer.from(`${passphrase}\0`, 'utf16le').swap16()
  if (passphrase !== '') return open(wide)
  // There are two encodings of an empty passphrase.
  try {
    return open(wide)
  } catch {
    return open(Buffer.alloc(0))
  }
}

/** RFC 8018, section 6.2. */
function decryptByPbes2(parameters: Value, encrypted: Buffer, passphrase: string): Buffer {
  const [derivation, encryption] = parameters.within()
  const [how, settings] = derivation!.within()
  if (how!.id !== pbkdf2) throw unsupported(how!)
  const [salt, iterations, ...rest] = settings!.within()
  const [hmac] = rest.find(({ tag }) => tag === sequence)?.within() ?? []
  const digest = hmac ? hmacs[hmac.id] : 'sha1'
  const [cipher, iv] = encryption!.within()
  const [name, keySize] = ciphers[cipher!.id] ?? []
  if (digest === undefined) throw unsupported(hmac!)
  if (name === undefined || keySize === undefined) throw unsupported(cipher!)
  const key = pbkdf2Sync(passphrase, octets(salt!), numberOf(iterations!), keySize, digest)
  return decipher(name, key, octets(iv!), encrypted)
}

function decipher(name: string, key: Buffer, iv: Buffer, encrypted: Buffer): Buffer {
  const opened = createDecipheriv(name, key, iv)
  return Buffer.concat([opened.update(encrypted), opened.final()])
}

const blockSize = 64

/** RFC 7292, appendix B.2, with SHA-1. `purpose` is 1 for a key, 2 for an initial vector. */
function derivePkcs12(
  password: Buffer,
  salt: Buffer,
  iterations: number,
  purpose: number,
  size: number,
): Buffer {
  const fill = (bytes: Buffer): Buffer =>
    bytes.length === 0
      ? bytes
      : Buffer.alloc(Math.ceil(bytes.length / blockSize) * blockSize, bytes)
  const diversifier = Buffer.alloc(blockSize, purpose)
  const input = Buffer.concat([fill(salt), fill(password)])
  const derived: Buffer[] = []
  for (let length = 0; length < size; length += derived.at(-1)!.length) {
    let hash = Buffer.concat([diversifier, input])
    for (let times = 0; times < iterations; times++) {
      hash = createHash('sha1').update(hash).digest()
    }
    derived.push(hash)
    const more = BigInt(`0x${Buffer.alloc(blockSize, hash).toString('hex')}`) + 1n
    for (let at = 0; at < input.length; at += blockSize) {
      const sum = BigInt(`0x${input.toString('hex', at, at + blockSize)}`) + more
      const hex = BigInt.asUintN(blockSize * 8, sum)
        .toString(16)
        .padStart(blockSize * 2, '0')
      input.write(hex, at, 'hex')
    }
  }
  return Buffer.concat(derived).subarray(0, size)
}

function numberOf({ content }: Value): number {
  return content.readUIntBE(0, content.length)
}

function unsupported({ id }: Value): Error {
  return new Error(`its encryption (${id}) is not supported`)
}
