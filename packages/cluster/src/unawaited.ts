/** Calls that a program may start and leave alone. */

import { isCioError } from 'cio'
import { whenUntaken } from 'cio/kit'

/** The codes of rejections that are no fault of the caller, beside those of the other side. */
const beyondControl = new Set([
  'ERR_CIO_OFFLINE',
  'ERR_CIO_UNREACHABLE',
  'ERR_CIO_CLUSTER_DOWN',
  'ERR_CIO_CALL_TIMEOUT',
  'ERR_CIO_MAILBOX_FULL',
])

/**
 * Nothing need await what a device or the broker can make fail. Any other rejection that nothing
 * awaits stays an unhandled one, since there is no context to report it with.
 */
export function unawaited<Value>(work: Promise<Value>): Promise<Value> {
  return whenUntaken(work, (error) => {
    if (error.name === 'AbortError') return
    const isBeyond =
      isCioError(error) && (error.fault === 'remote' || beyondControl.has(error.code))
    if (!isBeyond) void Promise.reject(error)
  })
}
