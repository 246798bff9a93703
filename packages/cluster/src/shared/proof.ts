/** Proof of revisions: each instance reports its revision in its signs of life. */

import { checkDuration, checkOptionNames, maxTimerDelay } from 'cio/kit'
import type { Cluster, SharedRevision } from '../cluster.ts'
import { notAppliedError } from './errors.ts'
import { resolvers } from '../resolvers.ts'

/** Options of `applied()`. */
export interface AppliedOptions {
  /**
   * Milliseconds to wait for all instances.
   *
   * @default 10_000
   */
  readonly timeout?: number
}

/** Fulfils when all live instances have a revision or a later one, with the revision of each. */
export async function untilApplied(
  cluster: Cluster,
  name: string,
  revision: number,
  own: () => SharedRevision | undefined,
  options: AppliedOptions = {},
): Promise<ReadonlyMap<string, number>> {
  checkOptionNames('applied', options, ['timeout'])
  const { timeout = 10_000 } = options
  checkDuration('applied', 'timeout', timeout)
  let isLate = false
  let change = resolvers()
  const stop = cluster.watchInstances(() => change.resolve())
  const end = (): void => {
    isLate = true
    change.resolve()
  }
  const timer = setTimeout(end, Math.min(timeout, maxTimerDelay))
  try {
    for (;;) {
      const { all, missing } = reportOf(cluster, name, revision, own())
      if (missing.length === 0) return all
      if (isLate) throw notAppliedError(name, revision, missing)
      await change.promise
      change = resolvers()
    }
  } finally {
    stop()
    clearTimeout(timer)
  }
}

function reportOf(
  { instances }: Cluster,
  name: string,
  revision: number,
  own: SharedRevision | undefined,
): { readonly all: ReadonlyMap<string, number>; readonly missing: readonly string[] } {
  const all = new Map<string, number>()
  const missing: string[] = []
  for (const [id, { shared }] of instances) {
    const found = shared.get(name)
    // This instance has no such list.
    if (!found) continue
    all.set(id, found.revision)
    const isOther = found.revision === own?.revision && found.digest !== own.digest
    if (found.revision < revision || isOther) missing.push(id)
  }
  // Its own sign of life has not come back yet.
  if (all.size === 0) missing.push('this instance')
  return { all, missing }
}
