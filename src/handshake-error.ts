/** What went wrong with a handshake, in words. */

import { CioError, asError } from './errors.ts'
import type { StreamContext } from './stream-context.ts'

/** Why a socket closed in the middle: what this side closed it for, or that the other side did. */
export function whyClosed(ctx: StreamContext, remote: string, cause: Error | null): Error {
  if (ctx.isOver) return asError(ctx.signal.reason)
  return handshakeError(remote, 'it closed the connection', cause)
}

export function handshakeError(remote: string, what: string, cause: Error | null): CioError {
  return new CioError('ERR_CIO_HANDSHAKE', `the handshake with ${remote} failed: ${what}`, {
    fault: 'peer',
    cause: cause ?? undefined,
  })
}

/** OpenSSL's reason, without the place in its source that comes before it. */
export function whyFailed(error: Error): string {
  return (error as { reason?: string }).reason ?? error.message
}

export function handshakeTimedOut(remote: string, timeout: number): CioError {
  const message = `the handshake with ${remote} was not done within ${timeout} ms`
  return new CioError('ERR_CIO_HANDSHAKE_TIMEOUT', message, { fault: 'peer' })
}
