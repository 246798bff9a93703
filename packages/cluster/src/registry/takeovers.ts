/** Slows down two connections that take one name from each other all the time. */

import type { Rate } from 'cio'
import { TokenBucket } from 'cio/kit'
import { atMost } from '../at-most.ts'
import { takenOverError } from './errors.ts'
import type { Holder } from './holder.ts'

const mostKeys = 10_000

/** The rate of takeovers of each name on this instance. */
export class Takeovers {
  readonly #rate: Rate
  readonly #buckets = new Map<string, TokenBucket>()
  /** The newest connection of each name that waits. */
  readonly #waiting = new Map<string, Holder>()
  readonly #delayed: (holder: Holder, milliseconds: number) => void

  constructor(rate: Rate, delayed: (holder: Holder, milliseconds: number) => void) {
    this.#rate = rate
    this.#delayed = delayed
  }

  /** Fulfils when the takeover is within the rate, or the connection has lost the name. */
  async admit(key: string, holder: Holder): Promise<void> {
    if (this.#rate.count === Infinity) return
    const bucket = this.#bucketOf(key)
    if (holder.isLost || bucket.take()) return
    this.#delayed(holder, bucket.delay())
    holder.isLate = true
    this.#enter(key, holder)
    try {
      do {
        await atMost(bucket.delay(), holder.lost)
      } while (!holder.isLost && !bucket.take())
    } finally {
      if (this.#waiting.get(key) === holder) this.#waiting.delete(key)
    }
  }

  /** Of several that wait, the newest stays: a device that reconnects all the time leaves no others behind. */
  #enter(key: string, holder: Holder): void {
    const other = this.#waiting.get(key)
    const isOlder = other?.isNewerThan(holder) ?? false
    if (!isOlder) this.#waiting.set(key, holder)
    const older = isOlder ? holder : other
    older?.supersede(takenOverError(key))
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
