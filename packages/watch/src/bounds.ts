/** Use and maximum of file descriptors, and of the limits of `limit`. */

import type { Limit } from 'cio'
import { descriptorLimit, openDescriptors } from './descriptors.ts'

/** A bound, and how much of it is used. */
export interface Bound {
  readonly name: string
  readonly usage: number
  readonly limit: number
}

/** The bounds of `limit`; those that are infinite are no bounds. */
export function boundsOf(limit: Limit | undefined): Bound[] {
  if (!limit) return []
  const { counts, bounds } = limit
  return [
    { name: 'connections', usage: counts.connections, limit: bounds.connections },
    { name: 'handshakes', usage: counts.handshakes, limit: bounds.handshakes },
    {
      name: 'waiting',
      usage: counts.waiting + counts.handshakesWaiting,
      limit: 2 * bounds.maxWaiting,
    },
    { name: 'queued', usage: counts.queued, limit: bounds.queued },
  ].filter(({ limit: most }) => Number.isFinite(most))
}

/** All bounds of a process. */
export function allBounds(limit: Limit | undefined): Bound[] {
  const [usage, most] = [openDescriptors(), descriptorLimit()]
  const descriptors =
    usage === undefined || most === undefined ? [] : [{ name: 'descriptors', usage, limit: most }]
  return [...descriptors, ...boundsOf(limit)]
}
