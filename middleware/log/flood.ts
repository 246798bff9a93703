import { type Rate, TokenBucket } from '../../src/rates/token-bucket.ts'

/** The suppressed lines of one reason since the last summary. */
export interface Suppressed {
  readonly reason: string
  readonly count: number
  /** When the first and the last of these connections ended, in milliseconds since 1970. */
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
 * A token bucket for each reason, so that an attack does not fill the log. Cio counts the lines
 * above the rate, and sums them up after `per`.
 */
export class Flood {
  readonly #rate: Rate
  readonly #report: (suppressed: Suppressed) => void
  readonly #reasons = new Map<string, Counts>()
  /** The number of suppressed lines so far, by reason. */
  readonly totals: Record<string, number> = {}
  #timer: NodeJS.Timeout | undefined

  constructor(rate: Rate, report: (suppressed: Suppressed) => void) {
    this.#rate = rate
    this.#report = report
  }

  /**
   * Whether a line may be written; otherwise counts it. Reasons are from a closed set; `at` is a time
   * by `performance.now()`.
   */
  admits(reason: string, at: number): boolean {
    let counts = this.#reasons.get(reason)
    if (!counts) {
      counts = { bucket: new TokenBucket(this.#rate), count: 0, first: 0, last: 0 }
      this.#reasons.set(reason, counts)
    }
    if (counts.bucket.take(at)) return true
    const now = Date.now()
    if (counts.count === 0) counts.first = now
    counts.count += 1
    this.totals[reason] = (this.totals[reason] ?? 0) + 1
    counts.last = now
    this.#timer ??= setTimeout(() => this.sumUp(), this.#rate.per).unref()
    return false
  }

  /** Reports the lines that were suppressed since the last summary. */
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
