/**
 * Functions of an application: what they return may be a promise, also where the types forbid it.
 *
 * In JavaScript nothing warns of an async function in the place of one that answers at once. Its promise
 * would count as true, and Node ends the process if it rejects.
 */

import { asError } from './errors.ts'
import { optionError } from './options.ts'

/** Whether a value has to be awaited. */
export function isThenable<Value>(value: Value | PromiseLike<Value>): value is PromiseLike<Value> {
  return typeof (value as PromiseLike<Value> | undefined | null)?.then === 'function'
}

/** A promise for a value that has to be awaited, also if its `then` throws; undefined for others. */
export function awaited<Value>(value: Value | PromiseLike<Value>): Promise<Value> | undefined {
  try {
    if (value instanceof Promise) return value
    return isThenable(value) ? Promise.resolve(value) : undefined
  } catch (thrown) {
    return Promise.reject(asError(thrown))
  }
}

/**
 * The answer of a function that has to answer at once.
 *
 * @throws `ERR_CIO_OPTION`: it returned a promise
 */
export function atOnce<Answer>(owner: string, option: string, answer: Answer): Answer {
  if (typeof answer !== 'object' || answer === null) return answer
  const promise = awaited<unknown>(answer)
  if (!promise) return answer
  promise.catch(() => {})
  throw optionError(owner, option, 'a function that answers at once, not with a promise', answer)
}

/** Calls back if a function whose answer does not count returned a promise, and that rejects. */
export function whenRejected(returned: unknown, failed: (thrown: unknown) => void): void {
  if (typeof returned === 'object' && returned !== null) void awaited(returned)?.catch(failed)
}
