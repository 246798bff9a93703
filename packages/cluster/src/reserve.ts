import { checkMethods } from 'cio/kit'
import type { Cluster } from './cluster.ts'

/**
 * Reserves the name of a part of a cluster, before the part is made.
 *
 * @throws `ERR_CIO_OPTION`: it is not a cluster; there is a part of this name, or it is no plain word
 */
export function reserve(cluster: Cluster, owner: string, name: string): void {
  checkCluster(owner, cluster)
  cluster.reserve(owner, name)
}

/**
 * Refuses what is no cluster.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkCluster(owner: string, cluster: Cluster): void {
  checkMethods(owner, 'cluster', 'what `cluster()` returns', cluster, ['reserve', 'whileUp'])
}
