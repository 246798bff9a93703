/**
 * Promises that you need not await, without an unhandled rejection.
 *
 * A peer can make most promises of Cio reject, at any time, and Node ends the process on an
 * unhandled rejection. So each such promise has a handler. A local fault is still reported.
 */

import { reportError } from './app-events.ts'
import { isOfCarrier } from './closed-errors.ts'
import type { Context } from './context.ts'
import { asError, isCioError } from '../errors.ts'

function ignore(): void {}

/** Adds a handler to a promise that rejects only because of the other side. */
export function handled<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(ignore)
  return promise
}

/** Receives the error of a promise that nothing awaited. */
export type Untaken = (error: Error) => void

/** A promise with its own handler, which also knows whether another handler was added. */
class Unawaited<Value> extends Promise<Value> {
  // A promise that `then()` returns is an ordinary promise.
  static override readonly [Symbol.species] = Promise
  #isTaken = false

  // oxlint-disable-next-line unicorn/no-thenable -- it is a promise
  override then<Result = Value, Failure = never>(
    fulfilled?: ((value: Value) => Result | PromiseLike<Result>) | null,
    rejected?: ((reason: unknown) => Failure | PromiseLike<Failure>) | null,
  ): Promise<Result | Failure> {
    this.#isTaken = true
    return super.then(fulfilled, rejected)
  }

  /** Calls back with the error, after the caller has had time to await it. */
  whenUntaken(untaken: Untaken): void {
    const look = (thrown: unknown): void => {
      if (!this.#isTaken) untaken(asError(thrown))
    }
    void super.then(undefined, (thrown: unknown) => setImmediate(look, thrown))
  }
}

/**
 * Wraps a promise that may reject because of a local fault, so that you need not await it. If
 * nothing awaits it, `error` reports such a fault, or `untaken` handles it.
 */
export function unawaited<Value>(
  ctx: Context,
  work: Promise<Value>,
  untaken: Untaken = (error) => {
    if (isOurs(error)) reportError(ctx.app, error, ctx)
  },
): Promise<Value> {
  return whenUntaken(work, untaken)
}

/** The same without a context: it passes each error that nothing awaits to `untaken`. */
export function whenUntaken<Value>(work: Promise<Value>, untaken: Untaken): Promise<Value> {
  const promise = new Unawaited<Value>((resolve) => resolve(work))
  promise.whenUntaken(untaken)
  return promise
}

/** A rejection that need not be awaited. */
export function refused(ctx: Context, thrown: unknown): Promise<never> {
  const error = asError(thrown)
  const promise = handled(Promise.reject(error))
  if (!isOurs(error)) return promise
  const refusal = unawaited(ctx, promise)
  refusals.add(refusal)
  return refusal
}

const refusals = new WeakSet<Promise<unknown>>()

/** Whether `refused` made this promise from a local fault. */
export function isRefused(promise: Promise<unknown>): promise is Promise<never> {
  return refusals.has(promise)
}

/** Whether an error is a local fault, and not a regular end. */
function isOurs(error: Error): boolean {
  if (error.name === 'AbortError' || isOfCarrier(error)) return false
  if (isCioError(error, 'ERR_CIO_CLOSING')) return false
  return !isCioError(error) || error.fault === 'local'
}
