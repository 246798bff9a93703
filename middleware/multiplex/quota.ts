/** Limits of open streams, and of streams that are not accepted yet. */

import { CioError } from '../../src/errors.ts'

/** The limits of a {@link Quota}. */
export interface QuotaOptions {
  readonly maxStreams: number
  readonly maxPending: number
  /** The peer's address, for messages. */
  readonly remote: string
  /** Throws if no stream may be opened any more. */
  check(this: void): void
}

/** Admits new streams, or makes them wait. */
export class Quota {
  readonly #options: QuotaOptions
  readonly #waiting = new Set<() => void>()
  #open = 0
  #pending = 0

  constructor(options: QuotaOptions) {
    this.#options = options
  }

  /** Fulfils when a stream may be opened, and counts it. */
  async enter(): Promise<void> {
    const { maxStreams, maxPending, remote, check } = this.#options
    check()
    if (this.#open >= maxStreams) {
      const message = `${this.#open} streams to ${remote} are open, which is \`maxStreams\`; end some before opening more`
      throw new CioError('ERR_CIO_TOO_MANY_STREAMS', message)
    }
    this.#open++
    try {
      while (this.#pending >= maxPending) {
        await new Promise<void>((resolve) => this.#waiting.add(resolve))
        check()
      }
    } catch (error) {
      this.#open--
      throw error
    }
    this.#pending++
  }

  /** The peer accepted or refused a stream. */
  taken(): void {
    this.#pending--
    const [next] = this.#waiting
    if (!next) return
    this.#waiting.delete(next)
    next()
  }

  /** A stream has closed. */
  leave(): void {
    this.#open--
  }

  /** Waiting calls check again whether they may continue. */
  wake(): void {
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}
