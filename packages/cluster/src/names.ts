/**
 * Encodes names for subjects: a certificate may contain any name, but a subject allows only a few
 * characters.
 */

import { CioError, type Fault } from 'cio'
import { optionError, quote } from 'cio/kit'

const plain = /^[\w-]+$/
// A broker allows subjects of about 4 kB, and encoding makes a name longer by a third.
const maxNameLength = 1_000

/**
 * Encodes a name for a subject or a key: letters, digits, `_` and `-` stay; any other name becomes
 * `=` and its bytes in base64url. Two names never have the same code.
 *
 * @throws `ERR_CIO_NAME_LENGTH`: the name has more than 1_000 bytes; `ERR_CIO_OPTION`: it is no string
 *
 * @example
 * import { encodeName } from '@cio/cluster'
 *
 * console.log(encodeName('sensor-7')) // sensor-7
 * console.log(encodeName('a.*')) // =YS4q
 */
export function encodeName(name: string, fault: Fault = 'local'): string {
  if (typeof name !== 'string') throw optionError('encodeName', 'name', 'a string', name)
  if (name.length <= maxNameLength && plain.test(name)) return name
  const bytes = Buffer.from(name, 'utf8')
  if (bytes.length > maxNameLength) {
    const message = `the name ${quote(name)} has ${bytes.length} bytes, more than ${maxNameLength}`
    throw new CioError('ERR_CIO_NAME_LENGTH', message, { fault })
  }
  // Half a surrogate pair has no bytes in UTF-8: two such names would be one.
  if (bytes.toString('utf8') !== name) {
    return `==${Buffer.from(name, 'utf16le').toString('base64url')}`
  }
  return `=${bytes.toString('base64url')}`
}

/** The name of a code, or undefined if `encodeName` made no such code. */
export function decodeName(code: string): string | undefined {
  if (plain.test(code)) return code
  if (!code.startsWith('=')) return undefined
  const isWide = code.startsWith('==')
  const bytes = Buffer.from(code.slice(isWide ? 2 : 1), 'base64url')
  const name = bytes.toString(isWide ? 'utf16le' : 'utf8')
  try {
    return encodeName(name) === code ? name : undefined
  } catch {
    return undefined
  }
}
