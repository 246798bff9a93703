/** Checks the options of `requests`. */

import { checkCount, checkDuration, checkOptionNames, optionError } from '../../src/options.ts'
import type { RequestsOptions } from '../requests.ts'

type Bounds = 'timeout' | 'maxCalls' | 'maxServed' | 'maxParts'
type Checked<In, Out> = RequestsOptions<In, Out> & Required<Pick<RequestsOptions<In, Out>, Bounds>>

const functions = ['isAnswer', 'isLast', 'failure', 'serve'] as const
const names = ['match', ...functions, 'timeout', 'maxCalls', 'maxServed', 'maxParts']

/**
 * The same options with their defaults.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkOptions<In, Out>(
  given: RequestsOptions<In, Out> = {} as RequestsOptions<In, Out>,
): Checked<In, Out> {
  checkOptionNames('requests', given, names)
  const { timeout = 30_000, maxCalls = 1_000, maxServed = 100, maxParts = 16 } = given
  checkDuration('requests', 'timeout', timeout)
  checkCount('requests', 'maxCalls', maxCalls, 1)
  checkCount('requests', 'maxServed', maxServed, 1)
  checkCount('requests', 'maxParts', maxParts, 1)
  checkMatch(given.match)
  for (const name of functions) {
    const value: unknown = given[name]
    if (value !== undefined && typeof value !== 'function') {
      throw optionError('requests', name, 'a function', value)
    }
  }
  if (given.isAnswer && given.match !== 'order') {
    throw optionError(
      'requests',
      'isAnswer',
      "left out: it goes with `match: 'order'`",
      given.isAnswer,
    )
  }
  return { ...given, timeout, maxCalls, maxServed, maxParts }
}

function checkMatch(match: unknown): void {
  if (match === 'order') return
  if (typeof match !== 'object' || match === null) {
    throw optionError('requests', 'match', "'order', or an object with `idOf` and `withId`", match)
  }
  checkOptionNames('requests: match', match, ['idOf', 'withId', 'maxId', 'cancel'])
  const { idOf, withId, maxId = 1, cancel = withId } = match as Record<string, unknown>
  for (const [name, value] of Object.entries({ idOf, withId, cancel })) {
    if (typeof value !== 'function') throw optionError('requests: match', name, 'a function', value)
  }
  if (!Number.isSafeInteger(maxId) || (maxId as number) < 1) {
    throw optionError('requests: match', 'maxId', 'a whole number of at least 1', maxId)
  }
}
