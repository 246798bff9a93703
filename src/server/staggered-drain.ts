/**
 * Staggered drain: asks many connections to finish over a period, so that clients do not all
 * reconnect at once.
 */

import type { ConnectionContext } from '../lifecycle/connection.ts'
import { lifeOf } from '../lifecycle/context.ts'
import { checkDuration, optionError } from '../options.ts'

// One timer for all connections, instead of one for each.
const leastStep = 10

/**
 * Asks connections to finish, spread evenly over a number of milliseconds: the first now, the last
 * before the end. Returns a function that stops it.
 */
export function staggeredDrain(
  connections: Iterable<ConnectionContext>,
  window: number,
  reason?: Error,
): () => void {
  const waiting = [...connections]
  const count = waiting.length
  const began = performance.now()
  let at = 0
  let timer: NodeJS.Timeout | undefined
  const wave = (): void => {
    const share = window > 0 ? (performance.now() - began) / window : 1
    const due = Math.min(count, Math.floor(share * count) + 1)
    while (at < due) lifeOf(waiting[at++]!).drain(reason)
    if (at < count) timer = setTimeout(wave, Math.max(leastStep, window / count))
  }
  wave()
  return () => clearTimeout(timer)
}

/**
 * Checks an option that is a finite duration within `timeout`.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkWithin(owner: string, option: string, value: number, timeout: number): void {
  checkDuration(owner, option, value)
  if (value === Infinity || value > timeout) {
    throw optionError(owner, option, 'finite, and at most `timeout`', value)
  }
}
