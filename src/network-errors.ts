/**
 * Classifies errors: which of them come from the network, and what each means for a connection. The
 * only place with their codes.
 */

import { isCioError } from './errors.ts'

/** Whether an error comes from the network or from TLS, and not from the application. */
export function isNetworkError({ syscall, code }: NodeJS.ErrnoException): boolean {
  if (syscall !== undefined) return true
  return typeof code === 'string' && /^(ECONN|EPIPE|ETIMEDOUT|ERR_SSL_)/.test(code)
}

const consequences: ReadonlySet<string> = new Set([
  'ABORT_ERR',
  'ECONNRESET',
  'EPIPE',
  'ERR_CIO_ANSWER_LOST',
  'ERR_CIO_CLOSED',
  'ERR_CIO_CLOSING',
  'ERR_CIO_STOPPED',
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
])

/**
 * Whether a handler gets this error because the connection has closed: it is a consequence, not the
 * cause.
 */
export function isConsequence({ code, name }: NodeJS.ErrnoException): boolean {
  return consequences.has(code ?? '') || name === 'AbortError'
}

const ofClosedStream: ReadonlySet<string> = new Set([
  'ERR_STREAM_DESTROYED',
  'ERR_STREAM_PREMATURE_CLOSE',
  'EPIPE',
])

/** Whether the error comes from a stream that was closed meanwhile. */
export function isOfClosedStream(error: Error): boolean {
  return ofClosedStream.has(codeOf(error))
}

/**
 * Whether the end of a connection may cause this error. `ECANCELED` comes from TLS over a stream
 * that is not a socket, if the stream ends during a write.
 */
export function isEndOfConnection({ code = '', name }: NodeJS.ErrnoException): boolean {
  return name === 'AbortError' || /^(ECONN|ECANCELED|EPIPE|ERR_STREAM_|ERR_SSL_)/.test(code)
}

/** Whether the address to listen on is in use, or does not exist yet. Such errors may go away. */
export function isAddressUnavailable({ syscall, code }: NodeJS.ErrnoException): boolean {
  return syscall === 'listen' && (code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL')
}

const passedOn =
  /^(EADDRNOTAVAIL|EAGAIN|EAI_AGAIN|EAI_NODATA|ECONN\w+|EHOST\w+|ENET\w+|ENOBUFS|ENOENT|ENOTFOUND|EPIPE|ESERVFAIL|ETIMEDOUT|ETIMEOUT)$/

/** Whether a middleware that runs before the connection may get this error from the network. */
export function isPassedOn(error: Error): boolean {
  return passedOn.test(codeOf(error))
}

/**
 * Codes of connections that will never succeed, however long a client waits. All other codes may
 * mean that a network or a server is down. That list would be endless: name servers, kernels,
 * proxies and streams have their own codes.
 */
const lasting: ReadonlySet<string> = new Set([
  'ABORT_ERR',
  'EACCES',
  'EAFNOSUPPORT',
  'EAI_BADFLAGS',
  'EAI_FAMILY',
  'EAI_SERVICE',
  'EAI_SOCKTYPE',
  'EBADF',
  'EBADFLAGS',
  'EBADNAME',
  'EINVAL',
  'EISDIR',
  'ELOOP',
  'ENAMETOOLONG',
  'ENOTDIR',
  'ENOTSOCK',
  'EPERM',
  'EPROTONOSUPPORT',
  'EPROTOTYPE',
  'ERR_ASSERTION',
  'ERR_IP_BLOCKED',
])

/** Classes of errors that are a mistake in a program. */
const ofAProgram: ReadonlySet<string> = new Set([
  'AbortError',
  'AssertionError',
  'EvalError',
  'RangeError',
  'ReferenceError',
  'SyntaxError',
  'TypeError',
])

/** Errors of a file that is missing, or that may not be read. */
const ofFiles: ReadonlySet<string> = new Set([
  'access',
  'lstat',
  'open',
  'opendir',
  'readlink',
  'scandir',
  'stat',
])

/** Whether another attempt may succeed after this error of Node. */
export function isTemporary(error: Error): boolean {
  const { syscall = '' } = error as NodeJS.ErrnoException
  return !lasting.has(codeOf(error)) && !ofAProgram.has(error.name) && !ofFiles.has(syscall)
}

/**
 * The alerts of a server that does not accept the identity of its client. In TLS 1.2
 * `handshake_failure` may mean that the certificate of the client is missing.
 */
const refusal =
  /ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN|REQUIRED)|NO_CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|UNKNOWN_PSK_IDENTITY)$/

/** Whether an error is a TLS alert that refuses an identity. */
export function isIdentityAlert(error: unknown): boolean {
  return error instanceof Error && refusal.test(codeOf(error))
}

/** Whether one side rejects the other's identity: a retry alone does not change that. */
export function isRefusal(error: Error | undefined): boolean {
  if (!error) return false
  return (
    isCioError(error, 'ERR_CIO_REJECTED') || isIdentityAlert(error) || isIdentityAlert(error.cause)
  )
}

/** Whether another attempt may succeed after this error of a connection. */
export function mayHeal(error: Error): boolean {
  const { cause } = error
  // Of several targets, one retryable error is enough.
  if (isCioError(error, 'ERR_CIO_CONNECT') && cause instanceof AggregateError) {
    return cause.errors.some((one) => one instanceof Error && mayHeal(one) && !isRefusal(one))
  }
  if (isCioError(error)) return error.fault === 'remote'
  return isTemporary(error)
}

/** The code of a DOMException is a number, and some errors have no code. */
function codeOf(error: Error): string {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' || typeof code === 'number' ? String(code) : ''
}
