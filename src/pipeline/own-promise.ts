/**
 * The promise that `next()` returns. If what is inside fails, that rejects no promise without a handler:
 * not this one, and none that is chained to it, as by `next().finally(…)` without an `await`. A client
 * could end the process by it. The run reports the error anyway.
 */

class OwnPromise extends Promise<void> {
  // oxlint-disable-next-line unicorn/no-thenable -- it is a promise
  override then<Result = void, Failure = never>(
    fulfilled?: ((value: void) => Result | PromiseLike<Result>) | null,
    rejected?: ((reason: unknown) => Failure | PromiseLike<Failure>) | null,
  ): Promise<Result | Failure> {
    // Only if it rejects: an error of `fulfilled` is not a client's.
    const derived = super.then(fulfilled, (reason: unknown): Failure | PromiseLike<Failure> => {
      void super.then.call(derived, undefined, ignore)
      if (typeof rejected === 'function') return rejected(reason)
      throw reason
    })
    return ownPromise(derived)
  }
}

const prototype: object = OwnPromise.prototype
// `await` takes a promise with this constructor as it is, without a call of `then`.
Object.defineProperty(prototype, 'constructor', { value: Promise })

function ignore(): void {}

/** Makes a native promise one of these. */
export function ownPromise<Value>(promise: Promise<Value>): Promise<Value> {
  return Object.setPrototypeOf(promise, prototype) as Promise<Value>
}
