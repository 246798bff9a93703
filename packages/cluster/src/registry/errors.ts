/** The errors of a registry. */

import { CioError, type StreamContext } from 'cio'
import { quote } from 'cio/kit'

/** The error of a connection without a key. */
export function noKeyError({ remote }: StreamContext): CioError {
  const message = `registry: ${remote} has no key; by default, it is the common name of its certificate`
  return new CioError('ERR_CIO_REJECTED', message, { fault: 'remote' })
}

/** The error of a connection whose name another one has claimed. */
export function takenOverError(key: string): CioError {
  const message = `another connection has registered as ${quote(key)}`
  return new CioError('ERR_CIO_TAKEN_OVER', message, { fault: 'remote' })
}

/** The error of a connection whose name is taken, with `duplicates: 'oldest'`. */
export function duplicateError(key: string): CioError {
  const message = `there is a connection that is registered as ${quote(key)}`
  return new CioError('ERR_CIO_DUPLICATE', message, { fault: 'remote' })
}

/** The error of a connection whose key already has the maximum number of connections. */
export function tooManyError(key: string, max: number): CioError {
  const message = `${max} connections are registered as ${quote(key)}, as many as \`max\` allows`
  return new CioError('ERR_CIO_DUPLICATE', message, { fault: 'remote' })
}

/** The error of a connection that does not read what is sent to it. */
export function slowError({ remote }: StreamContext, waiting: number): CioError {
  const message = `registry: ${remote} does not read, and ${waiting} bytes wait for it, more than \`maxBacklog\``
  return new CioError('ERR_CIO_SLOW_READER', message, { fault: 'remote' })
}

/** The error if certainly nothing is registered under the key. */
export function offlineError(key: string): CioError {
  return new CioError('ERR_CIO_OFFLINE', `nothing is registered as ${quote(key)}`)
}

/**
 * The error if a connection is registered but does not answer: it is unknown whether the message
 * arrived.
 */
export function unreachableError(key: string, timeout: number, cause?: unknown): CioError {
  const message = `${quote(key)} is registered, and its instance did not answer within ${timeout} ms`
  return new CioError('ERR_CIO_UNREACHABLE', message, { cause })
}
