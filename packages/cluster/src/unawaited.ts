/** Calls that a program need not await. */

import { isCioError } from 'cio'
import { whenUntaken } from 'cio/kit'

/** The codes of rejections that are not the caller's fault, besides remote faults. */
const beyondControl = new Set([
  'ERR_CIO_OFFLINE',
  'ERR_CIO_UNREACHABLE',
  'ERR_CIO_CLUSTER_DOWN',
  'ERR_CIO_CALL_TIMEOUT',
  'ERR_CIO_MAILBOX_FULL',
])

/**
 * A program need not await a call that a device or the broker can make fail. Any other rejection
 * that nothing awaits remains an unhandled one, since there is no context to report it with.
 */
export function unawaited<Value>(work: Promise<Value>): Promise<Value> {
  return whenUntaken(work, (error) => {
    if (error.name === 'AbortError') return
    const isBeyond =
      isCioError(error) && (error.fault === 'remote' || beyondControl.has(error.code))
    if (!isBeyond) void Promise.reject(error)
  })
}
