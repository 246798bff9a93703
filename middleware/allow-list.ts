import {
  AccessList,
  type AccessListMiddleware,
  type VerifiedContext,
} from '../src/access/access-list.ts'
import type { AccessListOptions } from '../src/access/access-check.ts'
import { defineMiddleware } from '../src/pipeline/middleware.ts'
import type { PeerSelector } from '../src/access/peer-matcher.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Options of {@link allowList}. */
export interface AllowListOptions extends AccessListOptions {}

/**
 * Turns away everybody whose verified certificate is not on a list.
 *
 * Fails closed: no TLS, no certificate, one that was not verified, two common names, a NUL in a
 * name, a predicate that throws or takes too long: turned away. An empty list admits nobody. Ask
 * for certificates with `requestCert` on the server. In a client pipeline the list is about the
 * server, on top of Node's own check of its host name.
 *
 * A string is the whole common name, exactly. A pattern is not anchored: `/alice/` admits
 * `malice`; write `/^alice$/`.
 *
 * @pipelines connection, client
 * @order after `secure`
 * @adds nothing; behind it `ctx.peer` is never null, unless `dryRun` lets everybody in
 * @rejects `ERR_CIO_REJECTED` (remote): it is not on the list, told by `reject`;
 *   `ERR_CIO_GOODBYE` (local): `options.reject` threw or took too long, told by `error` as well
 * @throws `ERR_CIO_OPTION`: `who` is of no kind that is known, or an option is out of its range.
 *   `listen()` and `connect()` throw `ERR_CIO_NO_IDENTITY` where nothing can give an identity
 *
 * @example
 * import { Cio, allowList } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(allowList(['alice', /^sensor-\d+$/, { uri: 'spiffe://acme/gateway' }]))
 * app.on('reject', (error) => console.warn(error.message))
 */
export function allowList(
  who: PeerSelector,
  options?: AllowListOptions & { readonly dryRun?: false },
): AccessListMiddleware<VerifiedContext>
export function allowList(who: PeerSelector, options: AllowListOptions): AccessListMiddleware
export function allowList(who: PeerSelector, options: AllowListOptions = {}): AccessListMiddleware {
  const list = new AccessList('allowList', who, true, options)

  const middleware = defineMiddleware<StreamContext>(
    // One that only reports lets everybody in, and needs nothing for that.
    { name: 'allowList', after: 'secure', ...(!options.dryRun && { needs: 'peer' }) },
    function allowList(ctx, next) {
      return list.admit(ctx, next)
    },
  )
  return Object.assign(middleware, { update: (changed?: PeerSelector) => list.update(changed) })
}

export { allowList as default }
