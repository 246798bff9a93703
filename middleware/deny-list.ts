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
 * Turns away everybody whose verified certificate is on a list, or who has none.
 *
 * Who cannot be told apart cannot be denied, so it fails closed as `allowList` does: no TLS, no
 * certificate, one that was not verified, two common names, a NUL in a name, a predicate that
 * throws or takes too long: turned away. An empty list admits everybody with a verified identity.
 *
 * @pipelines connection, client
 * @order after `secure`
 * @adds nothing; behind it `ctx.peer` is never null, unless `dryRun` lets everybody in
 * @rejects `ERR_CIO_REJECTED` (remote): it is on the list or unknown, told by `reject`;
 *   `ERR_CIO_GOODBYE` (local): `options.reject` threw or took too long, told by `error` as well
 * @throws `ERR_CIO_OPTION`: `who` is of no kind that is known, or an option is out of its range.
 *   `listen()` and `connect()` throw `ERR_CIO_NO_IDENTITY` where nothing can give an identity
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
    // One that only reports lets everybody in, and needs nothing for that.
    { name: 'denyList', after: 'secure', ...(!options.dryRun && { needs: 'peer' }) },
    function denyList(ctx, next) {
      return list.admit(ctx, next)
    },
  )
  return Object.assign(middleware, { update: (changed?: PeerSelector) => list.update(changed) })
}

export { denyList as default }
