/** A signal that is made only when somebody asks for it: most connections never do. */

import { CioError } from '../errors.ts'

/** Why it aborts where nothing went wrong. */
const ordinary = {
  closing: (): Error => new CioError('ERR_CIO_CLOSING', 'close() was called'),
  closed: (): Error => new CioError('ERR_CIO_CLOSED', 'it was closed in the ordinary way'),
}

/** What it aborts with, or the name of what is made into an error once somebody looks. */
export type Reason = Error | keyof typeof ordinary

/** Until it is asked for it is what has happened: nothing, or the reason. */
export type LazyAbort = AbortController | Reason | undefined

/** The same signal, made. */
export function made(signal: LazyAbort): AbortController {
  if (signal instanceof AbortController) return signal
  const controller = new AbortController()
  if (signal) controller.abort(errorOf(signal))
  return controller
}

/** The same signal, aborted. The first reason counts. */
export function fired(signal: LazyAbort, reason: Reason): LazyAbort {
  if (!(signal instanceof AbortController)) return signal ?? reason
  if (!signal.signal.aborted) signal.abort(errorOf(reason))
  return signal
}

/** Whether it has aborted. */
export function hasFired(signal: LazyAbort): boolean {
  return signal instanceof AbortController ? signal.signal.aborted : signal !== undefined
}

function errorOf(reason: Reason): Error {
  return typeof reason === 'string' ? ordinary[reason]() : reason
}
