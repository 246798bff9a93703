/** A limiter in another process, which may be down. Cio never waits long for it. */

import { type Rate, CioError } from 'cio'
import { TokenBucket, asError, debug } from 'cio/kit'

const log = debug('cio:sharedLimit')

/** The part of a limiter of `rate-limiter-flexible` that is used. */
export interface Limiter {
  /** Takes a point; rejects with an object that has `msBeforeNext` if there is none. */
  consume(key: string): Promise<unknown>
  /** Points in `duration` seconds. */
  readonly points?: number
  readonly duration?: number
}

/** The settings for requests to a store. */
export interface StoreOptions {
  readonly limiter: Limiter
  readonly fallback: Rate
  readonly timeout: number
  readonly retryInterval: number
  readonly maxKeys: number
}

/** Whether a connection is within the rate, and the failure or recovery of the store, if that is new. */
export interface Verdict {
  readonly isWithin: boolean
  readonly failed?: Error
  readonly recovered?: boolean
}

/** Asks the limiter; without it, buckets of this process. */
export class Store {
  readonly #options: StoreOptions
  readonly #buckets = new Map<string, TokenBucket>()
  #isDown = false
  #retryAt = -Infinity

  constructor(options: StoreOptions) {
    this.#options = options
  }

  async take(key: string): Promise<Verdict> {
    const now = performance.now()
    // One connection in each interval tries whether the store is up again.
    if (this.#isDown && now < this.#retryAt) return { isWithin: this.#takeHere(key) }
    this.#retryAt = now + this.#options.retryInterval
    try {
      const isWithin = await this.#ask(key)
      const recovered = this.#isDown
      this.#isDown = false
      return { isWithin, recovered }
    } catch (thrown) {
      const error = asError(thrown)
      log('the store fails: %s', error.message)
      const isNew = !this.#isDown
      this.#isDown = true
      this.#retryAt = performance.now() + this.#options.retryInterval
      return { isWithin: this.#takeHere(key), ...(isNew && { failed: error }) }
    }
  }

  /** Rejects if the store fails, or does not answer in time. */
  async #ask(key: string): Promise<boolean> {
    const { limiter, timeout } = this.#options
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const message = `the store of the limiter did not answer within ${timeout} ms`
      timer = setTimeout(() => reject(new CioError('ERR_CIO_CALL_TIMEOUT', message)), timeout)
    })
    try {
      await Promise.race([limiter.consume(key), late])
      return true
    } catch (thrown) {
      if (isRefusal(thrown)) return false
      throw thrown
    } finally {
      clearTimeout(timer)
    }
  }

  #takeHere(key: string): boolean {
    const { fallback, maxKeys } = this.#options
    const bucket = this.#buckets.get(key) ?? new TokenBucket(fallback)
    this.#buckets.delete(key)
    this.#buckets.set(key, bucket)
    if (this.#buckets.size > maxKeys) this.#buckets.delete(this.#buckets.keys().next().value!)
    return bucket.take()
  }
}

/** `rate-limiter-flexible` rejects with its result for a refusal, and with an error for a failure. */
function isRefusal(thrown: unknown): boolean {
  return (
    typeof thrown === 'object' &&
    thrown !== null &&
    !(thrown instanceof Error) &&
    typeof (thrown as { msBeforeNext?: unknown }).msBeforeNext === 'number'
  )
}
