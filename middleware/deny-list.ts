import {
  AccessList,
  type AccessListMiddleware,
  type VerifiedContext,
} from '../src/access/access-list.ts'
import type { AccessListOptions } from '../src/access/access-check.ts'
import { defineMiddleware } from '../src/pipeline/middleware.ts'
import type { PeerSelector } from '../src/access/peer-matcher.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Options of {@link denyList}. */
export interface DenyListOptions extends AccessListOptions {}

/**
 * Rejects certificates on a deny list (blocklist), and peers without one.
 *
 * Fails closed, as `allowList` does: a peer without a verified identity cannot be matched. It
 * rejects a connection without TLS, without a certificate, or with a certificate that was not
 * verified. It also rejects a certificate with two common names or with a NUL in a name. It rejects
 * if a predicate throws or takes too long. An empty list admits every peer with a verified
 * identity.
 *
 * @pipelines connection, client
 * @order after `secure`
 * @adds nothing; after it `ctx.peer` is never null, unless `dryRun` admits every client
 * @rejects `ERR_CIO_REJECTED` (remote): the peer is on the list or has no verified identity,
 *   emitted as `reject`; `ERR_CIO_GOODBYE` (local): `options.reject` threw or took too long, also
 *   emitted as `error`
 * @throws `ERR_CIO_OPTION`: `who` is not a rule, or an option is out of its range. `listen()` and
 *   `connect()` throw `ERR_CIO_NO_IDENTITY` if nothing in the pipeline can provide an identity
 *
 * @example
 * import { Cio, denyList } from 'cio'
 *
 * const app = new Cio().useConnection(denyList(['mallory', { ou: 'interns', dns: /\.test$/ }]))
 */
export function denyList(
  who: PeerSelector,
  options?: DenyListOptions & { readonly dryRun?: false },
): AccessListMiddleware<VerifiedContext>
export function denyList(who: PeerSelector, options: DenyListOptions): AccessListMiddleware
export function denyList(who: PeerSelector, options: DenyListOptions = {}): AccessListMiddleware {
  const list = new AccessList('denyList', who, false, options)

  const middleware = defineMiddleware<StreamContext>(
    // A dry run admits every client, so it needs no identity.
    {
      name: 'denyList',
      pipelines: ['connection', 'client'],
      after: 'secure',
      ...(!options.dryRun && { needs: 'peer' }),
      refusalOf: (peer) => list.refusalOf(peer),
    },
    function denyList(ctx, next) {
      return list.admit(ctx, next)
    },
  )
  return Object.assign(middleware, { update: (changed?: PeerSelector) => list.update(changed) })
}

export { denyList as default }
