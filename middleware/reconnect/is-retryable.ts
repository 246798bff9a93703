/** Whether a retry can succeed. */

import type { ClientContext } from '../../src/client/client.ts'
import { isCioError } from '../../src/errors.ts'

/**
 * Connection errors that no retry can fix. All other codes may mean that a network or server is
 * down; name servers, kernels, proxies and streams have countless codes.
 */
const neverHeals = new Set([
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

/** Programming errors, by class name. */
const ofAProgram = new Set([
  'AbortError',
  'AssertionError',
  'EvalError',
  'RangeError',
  'ReferenceError',
  'SyntaxError',
  'TypeError',
])

/** System calls on files that are missing or unreadable. */
const ofFiles = new Set(['access', 'lstat', 'open', 'opendir', 'readlink', 'scandir', 'stat'])

/** Network error codes that a middleware before the connection may pass on. */
const ofTheNetwork =
  /^(EADDRNOTAVAIL|EAGAIN|EAI_AGAIN|EAI_NODATA|ECONN\w+|EHOST\w+|ENET\w+|ENOBUFS|ENOENT|ENOTFOUND|EPIPE|ESERVFAIL|ETIMEDOUT|ETIMEOUT)$/

/** Errors that a handler sees after its connection was closed. */
const ofTheEnd = new Set(['ERR_STREAM_DESTROYED', 'ERR_STREAM_PREMATURE_CLOSE', 'EPIPE'])

/**
 * The alerts by which a server rejects our identity. In TLS 1.2, a server without our certificate
 * answers with a handshake failure.
 */
const refusal =
  /ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN|REQUIRED)|NO_CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|UNKNOWN_PSK_IDENTITY)$/

/** Whether one side rejects the other's identity: a retry alone does not change that. */
export function isRefusal(error: Error | undefined): boolean {
  if (!error) return false
  return isCioError(error, 'ERR_CIO_REJECTED') || isAlert(error) || isAlert(error.cause)
}

function isAlert(error: unknown): boolean {
  return error instanceof Error && refusal.test(codeOf(error))
}

/** Whether a retry can succeed after an attempt that ended, with this error if any. */
export function isRetryable(thrown: Error | undefined, ctx: ClientContext): boolean {
  const made = ctx.transport !== undefined
  const error = thrown ?? ctx.broken
  // There was no connection, or the handler ended before the server.
  if (!error) return made && ctx.lost
  if (isRefusal(error)) return false
  if (isCioError(error)) return error.fault === 'remote' && mayHeal(error)
  // The error of the connection itself, or of connecting.
  if (error === ctx.broken) return mayHeal(error)
  // A database that the handler uses has the same error codes.
  if (made) return ctx.lost && ofTheEnd.has(codeOf(error))
  return mayHeal(error) && ofTheNetwork.test(codeOf(error))
}

function mayHeal(error: Error): boolean {
  const { cause } = error
  // Of several targets, one retryable error is enough.
  if (isCioError(error, 'ERR_CIO_CONNECT') && cause instanceof AggregateError) {
    return cause.errors.some((one) => one instanceof Error && mayHeal(one) && !isRefusal(one))
  }
  if (isCioError(error)) return error.fault === 'remote'
  const { syscall = '' } = error as NodeJS.ErrnoException
  return !neverHeals.has(codeOf(error)) && !ofAProgram.has(error.name) && !ofFiles.has(syscall)
}

/** Some codes are numbers, as in a DOMException; some errors have none. */
function codeOf(error: Error): string {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' || typeof code === 'number' ? String(code) : ''
}
