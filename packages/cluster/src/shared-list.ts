/** An allow list or a deny list that is the same on all instances. */

import { type Middleware, type PeerSelector, type ServerContext, defineMiddleware } from 'cio'
import { checkOptionNames, optionError } from 'cio/kit'
import type { Cluster } from './cluster.ts'
import { type SharedOptions, checkSharedOptions, sharedOptionNames } from './shared/options.ts'
import { type SharedPeers, decodePeers, encodePeers } from './shared/selector.ts'
import type { AppliedOptions } from './shared/proof.ts'
import { Shared } from './shared/shared.ts'

export type { Ed25519Key } from './shared/document.ts'
export type { SharedOptions } from './shared/options.ts'
export type { SharedPeers } from './shared/selector.ts'
export type { AppliedOptions } from './shared/proof.ts'

/** Options of {@link sharedList}. */
export interface SharedListOptions extends SharedOptions {
  /** The name of the list, the same on all instances. */
  readonly name: string
  /** The list that is updated: an `allowList` or a `denyList`. */
  readonly list: { update(who?: PeerSelector): Promise<void> }
}

/** The middleware, with the methods that change the list on all instances. */
export interface SharedList extends Middleware<ServerContext> {
  /** The revision in force on this instance; 0: none. */
  readonly revision: number
  /**
   * Signs a new list, and publishes it to all instances. Fulfils with its revision when the broker
   * has it; `applied()` waits for the instances.
   *
   * @throws `ERR_CIO_OPTION`: a part has an unknown kind, or there is no `signKey`
   * @throws `ERR_CIO_STALE`: another one was published at the same time
   * @throws `ERR_CIO_CLUSTER_DOWN`
   */
  publish(who: SharedPeers): Promise<number>
  /**
   * Fulfils when all live instances with the list apply this revision or a later one, with the
   * revision of each instance by its id.
   *
   * @throws `ERR_CIO_NOT_APPLIED`: some do not within `timeout`; the message names them
   */
  applied(revision: number, options?: AppliedOptions): Promise<ReadonlyMap<string, number>>
}

/**
 * An allow list or deny list for all instances: signed, changed once, applied everywhere.
 *
 * A revision is signed with an Ed25519 key (`node:crypto`), since the broker is not trusted. Each
 * instance verifies it, refuses an older one, and passes it to `list.update()`, which also checks
 * the open connections again. An instance that cannot apply a revision keeps its last good one, and
 * emits `sharedRefused`.
 *
 * Fails closed: without a revision from the broker or from `file`, the server does not listen.
 *
 * @pipelines server
 * @order after `cluster`, before `listen`
 * @adds nothing; the middleware itself has `publish`, `applied`, `revision`
 * @rejects `ERR_CIO_NO_COPY` (local): there is no revision within `startTimeout`; `ERR_CIO_SIGNATURE`
 *   (local): the copy in `file` is not signed by the key
 * @throws `ERR_CIO_OPTION`: an option is missing, unknown or out of its range
 *
 * @example
 * import { Cio, denyList } from 'cio'
 * import { cluster, sharedList } from '@cio/cluster'
 * import { generateKeyPairSync } from 'node:crypto'
 *
 * const { publicKey, privateKey } = generateKeyPairSync('ed25519')
 * const here = cluster()
 * const denied = denyList([])
 * const shared = sharedList(here, {
 *   name: 'denied',
 *   list: denied,
 *   verifyKey: publicKey,
 *   signKey: privateKey,
 * })
 * await here.open()
 * const revision = await shared.publish(['mallory', { ou: 'interns' }])
 * console.log((await shared.applied(revision)).size) // 1
 * await here.close()
 */
export function sharedList(cluster: Cluster, options: SharedListOptions): SharedList {
  checkOptionNames('sharedList', options, ['name', 'list', ...sharedOptionNames])
  const { name, list } = options
  if (typeof (list as Partial<typeof list> | undefined)?.update !== 'function') {
    throw optionError('sharedList', 'list', 'an `allowList` or a `denyList`', list)
  }
  const settings = checkSharedOptions('sharedList', options)
  const shared = new Shared(
    cluster,
    {
      owner: 'sharedList',
      name,
      purpose: 'list',
      apply: (body) => list.update(decodePeers('sharedList', body)),
    },
    settings,
  )
  const middleware = defineMiddleware<ServerContext>(
    { name: `sharedList:${name}`, pipelines: ['server'], after: 'cluster', before: 'listen' },
    async function sharedList(ctx, next) {
      const leave = await shared.enter(ctx)
      try {
        return await next()
      } finally {
        leave()
      }
    },
  )
  const made = Object.assign(middleware, {
    publish: async (who: SharedPeers) => shared.publish(encodePeers('sharedList', who)),
    applied: (revision: number, options?: AppliedOptions) => shared.applied(revision, options),
    revision: 0,
  })
  return Object.defineProperty(made, 'revision', { get: () => shared.revision })
}

export { sharedList as default }
