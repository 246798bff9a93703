import { type Middleware, type StreamContext, defineMiddleware } from 'cio'
import { checkCount, checkOptionNames } from 'cio/kit'

/** Options of {@link __camel__}. */
export interface __capital__Options {
  /**
   * The number of the first connection.
   *
   * @default 1
   */
  readonly first?: number
}

/** What {@link __camel__} adds. */
export interface __capital__Context {
  /** Which connection this is. */
  visit: number
}

/**
 * Numbers the connections, in the order in which they come.
 *
 * @pipelines connection, client
 * @order after `secure`; anywhere, it reads nothing
 * @adds `ctx.visit`, the number
 * @rejects nothing
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio } from 'cio'
 * import { __camel__ } from '__name__'
 *
 * new Cio().useConnection(__camel__()).useConnection(({ stream, visit }) => {
 *   stream.write(`you are number ${visit}\n`)
 * })
 */
export function __camel__(
  options: __capital__Options = {},
): Middleware<StreamContext, __capital__Context> {
  const { first = 1 } = options
  checkOptionNames('__camel__', options, ['first'])
  checkCount('__camel__', 'first', first)
  let next = first

  return defineMiddleware<StreamContext, __capital__Context>(
    { name: '__camel__', after: 'secure' },
    async function __camel__(ctx, run) {
      ctx.visit = next++
      await run()
    },
  )
}

// So that `app.useConnection('__name__')` finds it.
export default __camel__
