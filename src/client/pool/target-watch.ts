/** Asks a source for the targets of a pool, again and again. */

import { asError } from '../../errors.ts'
import { checkDuration } from '../../options.ts'
import type { Backoff } from '../../rates/backoff.ts'
import type { Clock } from './clock.ts'
import type { FoundTargets, TargetSource } from './target-sources.ts'

/** The part of a pool that {@link TargetWatch} uses. */
export interface TargetWatchHost {
  readonly clock: Clock
  readonly backoff: Backoff
  /** Takes the targets; throws if they cannot be meant. */
  readonly found: (targets: FoundTargets['targets']) => void
  readonly failed: (error: Error) => void
}

/** Milliseconds between two questions, at least. */
const leastTtl = 10

/** Keeps the targets of a pool as its source has them. */
export class TargetWatch {
  readonly #source: TargetSource
  readonly #host: TargetWatchHost
  readonly #aborter = new AbortController()
  #failures = 0
  #stop = (): void => {}

  constructor(source: TargetSource, host: TargetWatchHost) {
    this.#source = source
    this.#host = host
  }

  /** Asks now, and again when the answer is old. */
  async ask(): Promise<void> {
    const { signal } = this.#aborter
    const { clock, backoff, found, failed } = this.#host
    let delay
    try {
      const { targets, ttl } = await this.#source.resolve(signal)
      if (signal.aborted) return
      checkDuration('Pool', 'ttl', ttl)
      found(targets)
      this.#failures = 0
      // A source that says 0 must not keep the process busy.
      delay = Math.max(ttl, leastTtl)
    } catch (error) {
      if (signal.aborted) return
      delay = backoff.delay(++this.#failures)
      failed(asError(error))
    }
    if (delay < Infinity) this.#stop = clock.after(delay, () => void this.ask())
  }

  stop(): void {
    this.#stop()
    this.#aborter.abort()
  }
}
