/** Whether trying again may help. */

import type { ClientContext } from '../../src/client/client.ts'
import { isCioError } from '../../src/errors.ts'

/**
 * Codes of a connection that no waiting makes possible. All others may be of a network or a server
 * that is down: there is no end of them, from name servers, kernels, proxies and streams.
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

/** A mistake in a program, by the name of its class. */
const ofAProgram = new Set([
  'AbortError',
  'AssertionError',
  'EvalError',
  'RangeError',
  'ReferenceError',
  'SyntaxError',
  'TypeError',
])

/** Where a file is not there, or may not be read. */
const ofFiles = new Set(['access', 'lstat', 'open', 'opendir', 'readlink', 'scandir', 'stat'])

/** Codes that a middleware before the connection may pass on from the network. */
const ofTheNetwork =
  /^(EADDRNOTAVAIL|EAGAIN|EAI_AGAIN|EAI_NODATA|ECONN\w+|EHOST\w+|ENET\w+|ENOBUFS|ENOENT|ENOTFOUND|EPIPE|ESERVFAIL|ETIMEDOUT|ETIMEOUT)$/

/** How a handler sees that its connection has been closed. */
const ofTheEnd = new Set(['ERR_STREAM_DESTROYED', 'ERR_STREAM_PREMATURE_CLOSE', 'EPIPE'])

/**
 * The alerts by which a server says that it does not accept who we are. In TLS 1.2 a failure of the
 * handshake is how it says that a certificate is missing.
 */
const refusal =
  /ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN|REQUIRED)|NO_CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|UNKNOWN_PSK_IDENTITY)$/

/** Whether one side refuses the identity of the other: waiting alone does not change that. */
export function isRefusal(error: Error | undefined): boolean {
  if (!error) return false
  return isCioError(error, 'ERR_CIO_REJECTED') || isAlert(error) || isAlert(error.cause)
}

function isAlert(error: unknown): boolean {
  return error instanceof Error && refusal.test(codeOf(error))
}

/** Whether a try that ended, by this error if by any, may go better when it is made again. */
export function isRetryable(thrown: Error | undefined, ctx: ClientContext): boolean {
  const made = ctx.transport !== undefined
  const error = thrown ?? ctx.broken
  // Nobody connected; or the handler was done before the server was.
  if (!error) return made && ctx.lost
  if (isRefusal(error)) return false
  if (isCioError(error)) return error.fault === 'remote' && mayHeal(error)
  // The error of the connection itself, or of making it.
  if (error === ctx.broken) return mayHeal(error)
  // The same codes come from a database that a handler talks to.
  if (made) return ctx.lost && ofTheEnd.has(codeOf(error))
  return mayHeal(error) && ofTheNetwork.test(codeOf(error))
}

function mayHeal(error: Error): boolean {
  const { cause } = error
  // Of several targets, one that may heal is enough.
  if (isCioError(error, 'ERR_CIO_CONNECT') && cause instanceof AggregateError) {
    return cause.errors.some((one) => one instanceof Error && mayHeal(one) && !isRefusal(one))
  }
  if (isCioError(error)) return error.fault === 'remote'
  const { syscall = '' } = error as NodeJS.ErrnoException
  return !neverHeals.has(codeOf(error)) && !ofAProgram.has(error.name) && !ofFiles.has(syscall)
}

/** Some are numbers, as that of a DOMException; some errors have none. */
function codeOf(error: Error): string {
  const { code } = error as { readonly code?: unknown }
  return typeof code === 'string' || typeof code === 'number' ? String(code) : ''
}
