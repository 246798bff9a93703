/** The options of `conforms()`. */

import type { Cio } from '../cio.ts'
import type { ConnectOptions } from '../client/connect-options.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { Middleware, Next } from '../pipeline/middleware.ts'
import type { ListenOptions } from '../server/listen-options.ts'
import type { MiddlewarePromise } from './instrument.ts'
import type { End } from './scenario.ts'

/** Options of `conforms()`. */
export interface ConformsOptions {
  /**
   * The pipelines of the middleware.
   *
   * @default ['connection', 'client']
   */
  readonly pipelines?: readonly End[]
  /**
   * Makes the middleware at the other end, which must speak the same protocol; null for none.
   *
   * @default the same
   */
  readonly counterpart?: (() => Middleware<never>) | null
  /**
   * Registers what the middleware needs, before it, at both ends: a codec, for example.
   *
   * @default nothing
   */
  readonly setUp?: (app: Cio, end: End) => void
  /**
   * The messages to send in both directions, if there is `ctx.messages`.
   *
   * @default some strings
   */
  readonly values?: readonly unknown[]
  /**
   * The behaviour of the other side; throws if the answer is wrong. For a middleware that sends
   * answers itself.
   *
   * @default sends messages or bytes, and expects the same back
   */
  readonly talk?: (ctx: StreamContext, connection: number) => unknown
  /**
   * The handler inside the middleware.
   *
   * @default an echo
   */
  readonly answer?: (ctx: StreamContext, next: Next) => unknown
  /**
   * Options of the server: `key` and `cert` turn TLS on.
   *
   * @default nothing
   */
  readonly listen?: ListenOptions
  /**
   * Options of the client: `ca` turns TLS on.
   *
   * @default nothing
   */
  readonly connect?: ConnectOptions
  /**
   * Promises to skip. Say why in a comment.
   *
   * @default none
   */
  readonly except?: readonly MiddlewarePromise[]
  /**
   * Milliseconds for each scenario.
   *
   * @default 10_000
   */
  readonly timeout?: number
}
