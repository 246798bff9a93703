/** A signal that is made only when somebody asks for it: most connections never do. */

import { setMaxListeners } from 'node:events'
import { CioError } from '../errors.ts'

/** Why it aborts where nothing went wrong. Shared: a stack for each connection says nothing. */
const ordinary: Record<'closing' | 'closed', Error> = {
  closing: withoutStack(new CioError('ERR_CIO_CLOSING', 'close() was called')),
  closed: withoutStack(new CioError('ERR_CIO_CLOSED', 'it was closed in the ordinary way')),
}

function withoutStack(error: CioError): Error {
  error.stack = `${error.name}: ${error.message}`
  return error
}

/** What it aborts with, or the name of what is made into an error once somebody looks. */
export type Reason = Error | keyof typeof ordinary

/** Until it is asked for it is what has happened: nothing, or the reason. */
export type LazyAbort = AbortController | Reason | undefined

/** The same signal, made. */
export function made(signal: LazyAbort): AbortController {
  if (signal instanceof AbortController) return signal
  const controller = new AbortController()
  allowListeners(controller.signal)
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
  return typeof reason === 'string' ? ordinary[reason] : reason
}

/**
 * Lets a signal have any number of listeners. By default Node warns of a leak from the eleventh on,
 * and one signal for a whole server has more than ten connections that listen to it.
 */
export function allowListeners(signal: AbortSignal): void {
  // Not so with a signal of another library.
  if (signal instanceof EventTarget) setMaxListeners(0, signal)
}
