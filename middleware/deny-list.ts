import type { StreamContext } from '../src/context.ts'
import { type ListOptions, judge } from '../src/judge.ts'
import { type Middleware, defineMiddleware } from '../src/middleware.ts'
import type { Who } from '../src/rule.ts'

/** Options of {@link denyList}. */
export interface DenyListOptions extends ListOptions {}

/**
 * Turns away everybody whose verified certificate is on a list, or who has none.
 *
 * Who cannot be told apart cannot be denied, so it fails closed as `allowList` does: no TLS, no
 * certificate, one that was not verified, two common names, a NUL in a name, a predicate that
 * throws or takes too long: turned away. An empty list admits everybody with a verified identity.
 *
 * @pipelines connection, client
 * @order after `secure`
 * @adds nothing
 * @rejects `ERR_CIO_REJECTED` (peer): it is on the list or unknown, told by `reject`;
 *   `ERR_CIO_GOODBYE` (app): `options.reject` threw or took too long, told by `error` as well
 * @throws `ERR_CIO_OPTION`: `who` is of no kind that is known, or an option is out of its range
 *
 * @example
 * import { Cio, denyList } from 'cio'
 *
 * const app = new Cio().useConnection(denyList(['mallory', { ou: 'interns', dns: /\.test$/ }]))
 */
export function denyList(who: Who, options: DenyListOptions = {}): Middleware<StreamContext> {
  const check = judge('denyList', who, false, options)

  return defineMiddleware<StreamContext>(
    { name: 'denyList', after: 'secure' },
    async function denyList(ctx, next) {
      await check(ctx)
      return next()
    },
  )
}

export { denyList as default }
