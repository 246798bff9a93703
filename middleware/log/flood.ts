import { type Rate, TokenBucket } from '../../src/rates/token-bucket.ts'

/** The suppressed lines of one reason, so far. */
export interface Suppressed {
  readonly reason: string
  readonly count: number
  /** When the first of them ended, and the last, in milliseconds since 1970. */
  readonly first: number
  readonly last: number
}

interface Counts {
  readonly bucket: TokenBucket
  count: number
  first: number
  last: number
}

/**
 * A token bucket for each reason: under attack the log must not become the attack. What is above the
 * rate is counted, and summed up after `per`.
 */
export class Flood {
  readonly #rate: Rate
  readonly #report: (suppressed: Suppressed) => void
  readonly #reasons = new Map<string, Counts>()
  /** All that were suppressed so far, by reason. */
  readonly totals: Record<string, number> = {}
  #timer: NodeJS.Timeout | undefined

  constructor(rate: Rate, report: (suppressed: Suppressed) => void) {
    this.#rate = rate
    this.#report = report
  }

  /** Whether there may be a line; otherwise it is counted. Reasons are of a closed set. */
  admits(reason: string): boolean {
    let counts = this.#reasons.get(reason)
    if (!counts) {
      counts = { bucket: new TokenBucket(this.#rate), count: 0, first: 0, last: 0 }
      this.#reasons.set(reason, counts)
    }
    if (counts.bucket.take()) return true
    const now = Date.now()
    if (counts.count === 0) counts.first = now
    counts.count += 1
    this.totals[reason] = (this.totals[reason] ?? 0) + 1
    counts.last = now
    this.#timer ??= setTimeout(() => this.sumUp(), this.#rate.per).unref()
    return false
  }

  /** Reports what was suppressed since the last time. */
  sumUp(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    for (const [reason, counts] of this.#reasons) {
      const { count, first, last } = counts
      if (count === 0) continue
      counts.count = 0
      this.#report({ reason, count, first, last })
    }
  }
}
