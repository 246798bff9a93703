/** The errors of a registry. */

import { CioError, type StreamContext } from 'cio'
import { quote } from 'cio/kit'

/** Of a connection without a key. */
export function noKeyError({ remote }: StreamContext): CioError {
  const message = `registry: ${remote} has no key; by default, it is the common name of its certificate`
  return new CioError('ERR_CIO_REJECTED', message, { fault: 'remote' })
}

/** Of a connection whose name another one has claimed. */
export function takenOverError(key: string): CioError {
  const message = `another connection has registered as ${quote(key)}`
  return new CioError('ERR_CIO_TAKEN_OVER', message, { fault: 'remote' })
}

/** Of a connection whose name is taken, with `duplicates: 'oldest'`. */
export function duplicateError(key: string): CioError {
  const message = `there is a connection that is registered as ${quote(key)}`
  return new CioError('ERR_CIO_DUPLICATE', message, { fault: 'remote' })
}

/** Of a connection whose key has as many as it may have. */
export function tooManyError(key: string, max: number): CioError {
  const message = `${max} connections are registered as ${quote(key)}, as many as \`max\` allows`
  return new CioError('ERR_CIO_DUPLICATE', message, { fault: 'remote' })
}

/** Nothing is registered under the key: that is certain. */
export function offlineError(key: string): CioError {
  return new CioError('ERR_CIO_OFFLINE', `nothing is registered as ${quote(key)}`)
}

/** Something is registered, and does not answer: what has become of the message is unknown. */
export function unreachableError(key: string, timeout: number, cause?: unknown): CioError {
  const message = `${quote(key)} is registered, and its instance did not answer within ${timeout} ms`
  return new CioError('ERR_CIO_UNREACHABLE', message, { cause })
}
