/** The options of pending calls, and their check. */

import { checkCount, checkDuration, checkOptionNames } from '../../options.ts'

/** Options of `PendingCalls`. */
export interface PendingCallsOptions {
  /** Milliseconds to wait for an answer, unless the call sets its own; `Infinity` sets no bound. */
  readonly timeout: number
  /** Maximum number of calls that wait for an answer or for room; `Infinity` sets no bound. */
  readonly maxCalls: number
  /**
   * How answers find their calls: by an id, or in the order of the calls.
   *
   * @default 'id'
   */
  readonly match?: 'id' | 'order'
  /**
   * The largest id. After it ids begin again at 1, and skip those whose answer may still come.
   *
   * @default Number.MAX_SAFE_INTEGER
   */
  readonly maxId?: number
  /**
   * Makes the message that cancels a call that was sent and given up; undefined sends none.
   *
   * @default none
   */
  readonly cancel?: (id: number) => unknown
}

/** @throws `ERR_CIO_OPTION`: one is unknown, missing or out of its range */
export function checkPendingCallsOptions(options: PendingCallsOptions): void {
  const owner = 'PendingCalls'
  checkOptionNames(owner, options, ['timeout', 'maxCalls', 'match', 'maxId', 'cancel'])
  checkDuration(owner, 'timeout', options.timeout)
  checkCount(owner, 'maxCalls', options.maxCalls)
}
