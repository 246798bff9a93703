/** Slows down two connections that take one name from each other all the time. */

import { setTimeout as delay } from 'node:timers/promises'
import type { Rate } from 'cio'
import { TokenBucket } from 'cio/kit'
import type { Holder } from './holder.ts'

const mostKeys = 10_000

/** The rate of takeovers of each name on this instance. */
export class Takeovers {
  readonly #rate: Rate
  readonly #buckets = new Map<string, TokenBucket>()
  readonly #delayed: (holder: Holder, milliseconds: number) => void

  constructor(rate: Rate, delayed: (holder: Holder, milliseconds: number) => void) {
    this.#rate = rate
    this.#delayed = delayed
  }

  /** Fulfils when the takeover is within the rate, or the connection has lost the name. */
  async admit(key: string, holder: Holder): Promise<void> {
    if (this.#rate.count === Infinity) return
    const bucket = this.#bucketOf(key)
    let isFirst = true
    while (!holder.isLost && !bucket.take()) {
      const wait = bucket.delay()
      if (isFirst) this.#delayed(holder, wait)
      isFirst = false
      holder.isLate = true
      const end = new AbortController()
      const due = delay(wait, undefined, { signal: end.signal }).catch(() => {})
      await Promise.race([due, holder.lost])
      end.abort()
    }
  }

  #bucketOf(key: string): TokenBucket {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#rate)
    this.#buckets.delete(key)
    this.#buckets.set(key, bucket)
    if (this.#buckets.size > mostKeys) {
      const [oldest = ''] = this.#buckets.keys()
      this.#buckets.delete(oldest)
    }
    return bucket
  }
}
