/**
 * Promises that need not be awaited.
 *
 * A peer can make most of what Cio promises fail, at any time, and Node ends the process by a
 * rejection without a handler. So each such promise has one. A fault of ours is still reported.
 */

import { reportError } from './app-events.ts'
import type { Context } from './context.ts'
import { asError, isCioError } from '../errors.ts'

function ignore(): void {}

/** Gives a promise a handler: for one that rejects only by what the other side did. */
export function handled<Value>(promise: Promise<Value>): Promise<Value> {
  promise.catch(ignore)
  return promise
}

/** Gets the error of a promise that nothing has awaited. */
export type Untaken = (error: Error) => void

/** Has a handler of its own, and knows whether it has got another. */
class Unawaited<Value> extends Promise<Value> {
  // What is derived from it is an ordinary promise.
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

  /** Calls with its error, once whoever is to await it has had the time. */
  whenUntaken(untaken: Untaken): void {
    const look = (thrown: unknown): void => {
      if (!this.#isTaken) untaken(asError(thrown))
    }
    void super.then(undefined, (thrown: unknown) => setImmediate(look, thrown))
  }
}

/**
 * Makes a promise that need not be awaited of one that may reject by a fault of ours. Where nothing
 * awaits it, `error` reports such a fault, unless `untaken` does otherwise.
 */
export function unawaited<Value>(
  ctx: Context,
  work: Promise<Value>,
  untaken: Untaken = (error) => {
    if (isOurs(error)) reportError(ctx.app, error, ctx)
  },
): Promise<Value> {
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

/** Whether a promise is one of those that `refused` makes of a fault of ours. */
export function isRefused(promise: Promise<unknown>): promise is Promise<never> {
  return refusals.has(promise)
}

/** Whether an error is neither the other side's doing nor the ordinary end. */
function isOurs(error: Error): boolean {
  if (error.name === 'AbortError' || isCioError(error, 'ERR_CIO_CLOSING')) return false
  return !isCioError(error) || error.fault === 'local'
}
