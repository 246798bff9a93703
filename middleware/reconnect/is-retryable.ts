/** Whether trying again may help. */

import type { ClientContext } from '../../src/client/client.ts'
import { isCioError } from '../../src/errors.ts'
import {
  isIdentityAlert,
  isOfClosedStream,
  isPassedOn,
  isTemporary,
} from '../../src/network-errors.ts'

/** Whether one side refuses the identity of the other: waiting alone does not change that. */
export function isRefusal(error: Error | undefined): boolean {
  if (!error) return false
  return (
    isCioError(error, 'ERR_CIO_REJECTED') || isIdentityAlert(error) || isIdentityAlert(error.cause)
  )
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
  if (made) return ctx.lost && isOfClosedStream(error)
  return mayHeal(error) && isPassedOn(error)
}

function mayHeal(error: Error): boolean {
  const { cause } = error
  // Of several targets, one that may heal is enough.
  if (isCioError(error, 'ERR_CIO_CONNECT') && cause instanceof AggregateError) {
    return cause.errors.some((one) => one instanceof Error && mayHeal(one) && !isRefusal(one))
  }
  if (isCioError(error)) return error.fault === 'remote'
  return isTemporary(error)
}
