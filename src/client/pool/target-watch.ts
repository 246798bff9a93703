/** Asks a source for the targets of a pool, again and again. */

import { CioError, asError } from '../../errors.ts'
import { checkDuration } from '../../options.ts'
import { made } from '../../streams/lazy-abort.ts'
import type { Clock } from './clock.ts'
import { type PoolOptions, type PoolSettings, checkTargets, isSource } from './options.ts'
import type { PoolTarget } from './pool-types.ts'
import type { TargetSource } from './target-sources.ts'

/** The part of a pool that {@link TargetWatch} uses. */
export interface TargetWatchHost {
  readonly clock: Clock
  readonly settings: PoolSettings
  /** Takes the targets; returns whether they have changed. */
  readonly update: (targets: readonly PoolTarget[]) => boolean
  readonly changed: () => void
  readonly failed: (error: Error) => void
}

/** Minimum milliseconds between two lookups. */
const leastTtl = 10

/** Keeps the targets of a pool up to date with its source. */
export class TargetWatch {
  /** Why the source has failed; undefined once it has answered again. */
  error: Error | undefined
  readonly #source: TargetSource
  readonly #host: TargetWatchHost
  readonly #aborter = made(undefined)
  #failures = 0
  #stop = (): void => {}

  constructor(source: TargetSource, host: TargetWatchHost) {
    this.#source = source
    this.#host = host
  }

  /** Asks the source now, and again each time when its answer has expired. */
  async ask(): Promise<void> {
    const { signal } = this.#aborter
    const { clock, settings, update, changed, failed } = this.#host
    let delay
    try {
      const { targets, ttl } = await this.#source.resolve(signal)
      if (signal.aborted) return
      checkDuration('Pool', 'ttl', ttl)
      if (Array.isArray(targets) && targets.length === 0) throw noTargetsError()
      checkTargets(targets, settings.connect)
      this.error = undefined
      this.#failures = 0
      if (update(targets)) changed()
      // A source that returns a `ttl` of 0 must not keep the process busy.
      delay = Math.max(ttl, leastTtl)
    } catch (error) {
      if (signal.aborted) return
      delay = settings.backoff.delay(++this.#failures)
      failed((this.error = asError(error)))
    }
    if (delay < Infinity) this.#stop = clock.after(delay, () => void this.ask())
  }

  stop(): void {
    this.#stop()
    this.#aborter.abort()
  }
}

function noTargetsError(): CioError {
  const message =
    'the source of the targets of the pool found none; if it asks DNS, check the records of its name'
  return new CioError('ERR_CIO_CONNECT', message, { fault: 'remote' })
}

/** Takes a list of targets, or follows a source of them. */
export function followTargets(
  targets: PoolOptions['targets'],
  host: TargetWatchHost,
): TargetWatch | undefined {
  if (!isSource(targets)) {
    host.update(targets)
    return undefined
  }
  const watch = new TargetWatch(targets, host)
  void watch.ask()
  return watch
}
