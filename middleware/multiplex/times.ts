/** The timeouts of a stream, which are those of its connection. */

import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { ClientContext } from '../../src/client/client.ts'
import type { MuxedContext } from './muxed.ts'

/** In milliseconds. */
export interface Times {
  readonly flushTimeout: number
  readonly halfOpenTimeout?: number
}

/** The default of `listen` and `connect`. */
const defaultFlushTimeout = 30_000

/** The options of the underlying connection: a nested stream has no options. */
export function timesOf(ctx: StreamContext): Times {
  const { muxed, options, server } = ctx as AnyContext
  if (muxed) return timesOf(muxed.parent)
  const { flushTimeout = defaultFlushTimeout, halfOpenTimeout } = options ?? server?.options ?? {}
  // 0 applies to sockets only: after the other side has ended a stream, this side may always
  // answer.
  return { flushTimeout, ...(halfOpenTimeout && { halfOpenTimeout }) }
}

type AnyContext = StreamContext &
  Partial<MuxedContext & Pick<ClientContext, 'options'> & Pick<ConnectionContext, 'server'>>
