/**
 * Signed documents: a value with a name and a revision.
 *
 * The signature covers the bytes of an inner frame, so a check need not encode anything again. The
 * name and the purpose are inside the signed part, so a list cannot stand in for a CA or for
 * another list.
 */

import {
  type KeyObject,
  createHash,
  createPrivateKey,
  createPublicKey,
  sign,
  verify,
} from 'node:crypto'
import { CioError } from 'cio'
import { optionError, quote } from 'cio/kit'
import { decodeFrame, encodeFrame, numberOf, textOf } from '../wire/frames.ts'

/** A key: its PEM, or a `KeyObject` of `node:crypto`. */
export type Ed25519Key = string | Buffer | KeyObject

/** The name and the purpose of a document. */
export interface Subject {
  readonly name: string
  readonly purpose: 'list' | 'ca' | 'crl'
}

/** A document whose signature was verified. */
export interface Document {
  readonly revision: number
  readonly body: Uint8Array
  /** The signed bytes. */
  readonly bytes: Uint8Array
  readonly digest: string
}

const digestLength = 16

/**
 * The public keys of an option.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function publicKeys(
  owner: string,
  given: Ed25519Key | readonly Ed25519Key[],
): readonly KeyObject[] {
  const keys = Array.isArray(given) ? (given as readonly Ed25519Key[]) : [given as Ed25519Key]
  if (keys.length === 0) throw optionError(owner, 'verifyKey', 'at least one key', given)
  return keys.map((key) => ed25519(owner, 'verifyKey', () => publicKey(key)))
}

/**
 * The private key of an option.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function privateKey(owner: string, given: Ed25519Key): KeyObject {
  const load = (): KeyObject => (isKeyObject(given) ? given : createPrivateKey(given))
  const key = ed25519(owner, 'signKey', load)
  if (key.type === 'private') return key
  throw new CioError('ERR_CIO_OPTION', `${owner}: \`signKey\` is a public key`)
}

/** Signs a document. */
export function signDocument(
  { name, purpose }: Subject,
  revision: number,
  body: Uint8Array,
  key: KeyObject,
): Uint8Array {
  const signed = encodeFrame({ kind: 'document', purpose, name, revision }, body)
  const signature = sign(null, signed, key).toString('base64')
  return encodeFrame({ kind: 'signed', signature }, signed)
}

/**
 * Verifies a document.
 *
 * @throws `ERR_CIO_SIGNATURE`: it is not signed by one of the keys, or is another document
 */
export function openDocument(
  subject: Subject,
  bytes: Uint8Array,
  keys: readonly KeyObject[],
): Document {
  const outer = decodeFrame(bytes)
  if (outer?.header.kind !== 'signed') throw signatureError(subject, 'is not a signed document')
  const signature = Buffer.from(textOf(outer.header, 'signature') ?? '', 'base64')
  if (!keys.some((key) => verify(null, outer.body, key, signature))) {
    throw signatureError(subject, 'is not signed by the key of `verifyKey`')
  }
  const inner = decodeFrame(outer.body)
  const { header } = inner ?? {}
  const revision = header && numberOf(header, 'revision')
  const isThis =
    header?.kind === 'document' &&
    textOf(header, 'name') === subject.name &&
    textOf(header, 'purpose') === subject.purpose
  if (!isThis) throw signatureError(subject, 'is signed for another name or purpose')
  if (!Number.isSafeInteger(revision) || revision! < 1) {
    throw signatureError(subject, 'has no revision')
  }
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, digestLength)
  return { revision: revision!, body: inner!.body, bytes, digest }
}

function publicKey(key: Ed25519Key): KeyObject {
  if (!isKeyObject(key)) return createPublicKey(key)
  return key.type === 'private' ? createPublicKey(key) : key
}

function isKeyObject(key: Ed25519Key): key is KeyObject {
  return typeof key === 'object' && 'asymmetricKeyType' in key
}

/** No message contains the given value: it may be a private key. */
function ed25519(owner: string, option: string, load: () => KeyObject): KeyObject {
  let key: KeyObject | undefined
  try {
    key = load()
  } catch {}
  if (key?.asymmetricKeyType === 'ed25519') return key
  throw new CioError('ERR_CIO_OPTION', `${owner}: expected \`${option}\` to be an Ed25519 key`)
}

function signatureError({ name, purpose }: Subject, what: string): CioError {
  const message = `the shared ${purpose} ${quote(name)} ${what}`
  return new CioError('ERR_CIO_SIGNATURE', message)
}
