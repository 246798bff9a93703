/** WebSocket subprotocols: their negotiation, and the codec for the chosen one. */

import type { IncomingMessage } from 'node:http'
import { CioError } from '../../src/errors.ts'
import { optionError } from '../../src/options.ts'
import { type Middleware, defineMiddleware } from '../../src/pipeline/middleware.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'

/** A token of RFC 9110, section 5.6.2. */
const token = /^[!#$%&'*+.^_`|~\w-]+$/

/** The names of subprotocols, checked. */
export function checkedSubprotocols(given: readonly string[]): readonly string[] {
  const isList = Array.isArray(given) && given.every((one) => token.test(String(one)))
  if (!isList) {
    throw optionError('websocket', 'subprotocols', 'a list of names without spaces', given)
  }
  return given
}

/**
 * The first subprotocol of the client that is listed; undefined if the client asks for none. Null
 * if it asks only for others: by RFC 6455 the client may fail then, and browsers do.
 */
export function chooseSubprotocol(
  { headers }: IncomingMessage,
  listed: readonly string[],
): string | null | undefined {
  const asked = headers['sec-websocket-protocol']
  if (asked === undefined) return undefined
  const names = asked.split(',').map((one) => one.trim())
  return names.find((one) => listed.includes(one)) ?? null
}

/** Makes {@link bySubprotocol} from a function that knows the subprotocol of a connection. */
export function codecBySubprotocol<Adds extends object>(
  codecs: Readonly<Record<string, Middleware<StreamContext, Adds>>>,
  subprotocolOf: (ctx: StreamContext) => string | undefined,
): Middleware<StreamContext, Adds> {
  const byName = new Map(Object.entries(codecs))
  checkedSubprotocols([...byName.keys()])
  for (const codec of byName.values()) {
    if (typeof codec !== 'function') {
      throw optionError('bySubprotocol', 'codecs', 'middleware by subprotocol', codec)
    }
  }
  return defineMiddleware<StreamContext, Adds>(
    { name: 'bySubprotocol', pipelines: ['connection'] },
    async function bySubprotocol(ctx, next) {
      const chosen = subprotocolOf(ctx)
      const codec = byName.get(chosen ?? '')
      if (codec) return codec(ctx, next)
      const what = chosen === undefined ? 'asked for no subprotocol' : `has no codec for ${chosen}`
      throw new CioError('ERR_CIO_WEBSOCKET', `${ctx.remote} ${what}`, { fault: 'remote' })
    },
  )
}
