/** `@cio/cluster/testing`: checks an engine against the contract. */

import { CioError, isCioError } from 'cio'
import { asError, checkDuration, checkOptionNames, optionError } from 'cio/kit'
import type { Engine } from './engine.ts'
import { promises } from './testing/promises.ts'
import { type Outage, Trial } from './testing/trial.ts'

export type { Outage } from './testing/trial.ts'

/** Options of {@link engineConforms}. */
export interface EngineConformsOptions {
  /** Ends and restores the connection of all engines to the broker. Without it, no outage is tried. */
  readonly outage?: Outage
  /**
   * Names of promises to skip, as the result has them. Say why in a comment.
   *
   * @default none
   */
  readonly except?: readonly string[]
  /**
   * Milliseconds for each promise.
   *
   * @default 30_000
   */
  readonly timeout?: number
}

/**
 * Checks that an engine keeps the contract of `Engine`.
 *
 * @param make Makes an engine that is not open; all of them reach one broker.
 * @returns the names of the promises that were checked and kept
 * @throws `ERR_CIO_NONCONFORMING`: names each promise that was broken, and how
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { memory, memoryHub } from '@cio/cluster'
 * import { engineConforms } from '@cio/cluster/testing'
 *
 * const hub = memoryHub()
 * const kept = await engineConforms(() => memory(hub))
 * console.log(kept.length)
 */
export async function engineConforms(
  make: () => Engine,
  options: EngineConformsOptions = {},
): Promise<readonly string[]> {
  checkOptionNames('engineConforms', options, ['outage', 'except', 'timeout'])
  const { outage, except = [], timeout = 30_000 } = options
  checkDuration('engineConforms', 'timeout', timeout)
  const unknown = except.find((name) => !promises.has(name))
  if (unknown !== undefined) {
    throw optionError('engineConforms', 'except', 'names of promises', unknown)
  }
  const kept: string[] = []
  const broken: string[] = []
  for (const [promise, check] of promises) {
    if (except.includes(promise) || (check.needsOutage && !outage)) continue
    const trial = new Trial(make, timeout, outage)
    try {
      await trial.run(check.run)
      kept.push(promise)
    } catch (thrown) {
      const { message } = asError(thrown)
      broken.push(`- ${promise}: ${isCioError(thrown) ? `${thrown.code}, ` : ''}${message}`)
    }
  }
  if (broken.length === 0) return kept
  const message = `the engine does not keep its contract:\n${broken.join('\n')}`
  const error = new CioError('ERR_CIO_NONCONFORMING', message)
  // Its own text, of several lines: an error escapes those in the message that it is made with.
  throw Object.assign(error, { message })
}
