/** Whether trying again may help. */

import type { ClientContext } from '../../src/client/client.ts'
import { isCioError } from '../../src/errors.ts'

/** What a network that is down, or a server that is, makes of a try. */
const ofTheNetwork = new Set([
  'EADDRNOTAVAIL',
  'EAI_AGAIN',
  'EAI_NODATA',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETRESET',
  'ENETUNREACH',
  'ENOBUFS',
  // Also the path of a Unix socket that nobody listens on yet.
  'ENOENT',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
])

/** How a handler sees that its connection has been closed. */
const ofTheEnd = new Set(['ERR_STREAM_DESTROYED', 'ERR_STREAM_PREMATURE_CLOSE', 'EPIPE'])

/**
 * The alerts by which a server says that it does not accept who we are. In TLS 1.2 a failure of the
 * handshake is how it says that a certificate is missing.
 */
const refusal =
  /ALERT_(BAD_CERTIFICATE|UNSUPPORTED_CERTIFICATE|CERTIFICATE_(REVOKED|EXPIRED|UNKNOWN|REQUIRED)|NO_CERTIFICATE|HANDSHAKE_FAILURE|UNKNOWN_CA|ACCESS_DENIED|UNKNOWN_PSK_IDENTITY)$/

/** Whether a try that ended, by this error if by any, may go better when it is made again. */
export function isRetryable(thrown: Error | undefined, ctx: ClientContext): boolean {
  const made = ctx.transport !== undefined
  const error = thrown ?? ctx.broken
  // Nobody connected; or the handler was done before the server was.
  if (!error) return made && ctx.lost
  if (refusesUs(error)) return false
  if (isCioError(error)) {
    return error.fault === 'remote' && error.code !== 'ERR_CIO_REJECTED' && !refusesUs(error.cause)
  }
  const { code = '', syscall } = error as NodeJS.ErrnoException
  if (!made) return syscall !== 'open' && ofTheNetwork.has(code)
  // The same codes come from a database that a handler talks to.
  if (error === ctx.broken) return ofTheNetwork.has(code) || code.startsWith('ERR_SSL_')
  return ctx.lost && ofTheEnd.has(code)
}

function refusesUs(error: unknown): boolean {
  return error instanceof Error && refusal.test((error as NodeJS.ErrnoException).code ?? '')
}
