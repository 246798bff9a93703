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
 * Admits only verified certificates on an allow list (mutual TLS).
 *
 * Fails closed. It rejects a connection without TLS, without a certificate, or with a certificate
 * that was not verified. It also rejects a certificate with two common names or with a NUL in a
 * name. It rejects if a predicate throws or takes too long. An empty list admits no client. Request
 * certificates with `requestCert` on the server. In a client pipeline the list checks the server,
 * in addition to Node's own check of its host name.
 *
 * A string is the whole common name, exactly. A pattern is not anchored: `/alice/` admits
 * `malice`; write `/^alice$/`.
 *
 * @pipelines connection, client
 * @order after `secure`
 * @adds nothing; after it `ctx.peer` is never null, unless `dryRun` admits every client
 * @rejects `ERR_CIO_REJECTED` (remote): the peer is not on the list, emitted as `reject`;
 *   `ERR_CIO_GOODBYE` (local): `options.reject` threw or took too long, also emitted as `error`
 * @throws `ERR_CIO_OPTION`: `who` is not a rule, or an option is out of its range. `listen()` and
 *   `connect()` throw `ERR_CIO_NO_IDENTITY` if nothing in the pipeline can provide an identity
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
    // A dry run admits every client, so it needs no identity.
    {
      name: 'allowList',
      pipelines: ['connection', 'client'],
      after: 'secure',
      ...(!options.dryRun && { needs: 'peer' }),
      refusalOf: (peer) => list.refusalOf(peer),
    },
    function allowList(ctx, next) {
      return list.admit(ctx, next)
    },
  )
  return Object.assign(middleware, { update: (changed?: PeerSelector) => list.update(changed) })
}

export { allowList as default }
