/** The reasons of ends in the groups of the charts. */

import type { EndReason } from 'cio'

/** The groups, in the order in which a chart stacks them. */
export const groups = ['regular', 'refused', 'limit', 'remote', 'local'] as const

export type Group = (typeof groups)[number]

const groupOf: Readonly<Record<EndReason, Group>> = {
  remote_ended: 'regular',
  served: 'regular',
  drained: 'regular',
  nothing_said: 'regular',
  over_limit: 'refused',
  not_admitted: 'refused',
  untrusted: 'refused',
  expired: 'refused',
  no_route: 'refused',
  handshake_timeout: 'limit',
  idle: 'limit',
  not_reading: 'limit',
  too_old: 'limit',
  forced: 'limit',
  handshake_failed: 'remote',
  remote_reset: 'remote',
  bad_header: 'remote',
  bad_data: 'remote',
  remote_fault: 'remote',
  upstream: 'local',
  local_fault: 'local',
  stuck: 'local',
}

/** All reasons, in the order of their groups. */
export const reasons = Object.keys(groupOf) as readonly EndReason[]

/** How many ended for each group. */
export function byGroup(counts: ReadonlyMap<string, number>): Record<Group, number> {
  const sums: Record<Group, number> = { regular: 0, refused: 0, limit: 0, remote: 0, local: 0 }
  for (const [reason, count] of counts) sums[groupOf[reason as EndReason] ?? 'local'] += count
  return sums
}
