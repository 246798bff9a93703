/** Whether a retry can succeed. */

import type { ClientContext } from '../../src/client/client.ts'
import { isCioError } from '../../src/errors.ts'
import { isOfClosedStream, isPassedOn, isRefusal, mayHeal } from '../../src/network-errors.ts'

export { isRefusal } from '../../src/network-errors.ts'

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
  if (made) return ctx.lost && isOfClosedStream(error)
  return mayHeal(error) && isPassedOn(error)
}
