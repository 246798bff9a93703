/** A promise that is settled from outside, and that may stay without a listener. */

/** Created only when something waits for it. */
export class Deferred {
  readonly promise: Promise<void>
  /** Fulfils the promise, or rejects it. */
  declare readonly settle: (error?: Error) => void

  constructor() {
    this.promise = new Promise<void>((resolve, reject) => {
      Object.assign(this, { settle: (error?: Error) => (error ? reject(error) : resolve()) })
    })
    // It may be read and not awaited.
    this.promise.catch(() => {})
  }
}
