/** An AbortSignal that is created on first use, since most connections never use it. */

import { setMaxListeners } from 'node:events'
import { CioError } from '../errors.ts'

/**
 * The reason if there is no error. Shared, because a stack trace for each connection would say
 * nothing.
 */
const ordinary: Record<'closing' | 'closed', Error> = {
  closing: withoutStack(new CioError('ERR_CIO_CLOSING', 'close() was called')),
  closed: withoutStack(new CioError('ERR_CIO_CLOSED', 'the connection closed without an error')),
}

function withoutStack(error: CioError): Error {
  error.stack = `${error.name}: ${error.message}`
  return error
}

/** The reason, or a name from which the error is made on first use. */
export type Reason = Error | keyof typeof ordinary

/** Before first use it holds only the state: nothing, or the reason. */
export type LazyAbort = AbortController | Reason | undefined

/** The same signal, as an AbortSignal that is created now. */
export function made(signal: LazyAbort): AbortController {
  if (signal instanceof AbortController) return signal
  const controller = newAbort()
  if (signal) controller.abort(errorOf(signal))
  return controller
}

/** The same signal, aborted. The first reason counts. */
export function fired(signal: LazyAbort, reason: Reason): LazyAbort {
  if (!(signal instanceof AbortController)) return signal ?? reason
  if (!signal.signal.aborted) signal.abort(errorOf(reason))
  return signal
}

function errorOf(reason: Reason): Error {
  return typeof reason === 'string' ? ordinary[reason] : reason
}

/** A signal of Cio's, which may be given to others: it may have any number of listeners. */
export function newAbort(): AbortController {
  const controller = new AbortController()
  allowListeners(controller.signal)
  return controller
}

/** A signal that aborts with either of two, and may have any number of listeners. */
export function anyOf(one: AbortSignal, other: AbortSignal | undefined): AbortSignal {
  if (!other) return one
  const signal = AbortSignal.any([one, other])
  allowListeners(signal)
  return signal
}

/**
 * Lets a signal have any number of listeners. By default Node warns of a leak from the eleventh on,
 * and more than ten connections listen to the signal of a server.
 */
export function allowListeners(signal: AbortSignal): void {
  // Signals of other libraries have no such limit.
  if (signal instanceof EventTarget) setMaxListeners(0, signal)
}
