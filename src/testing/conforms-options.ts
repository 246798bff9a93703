/** The options of `conforms()`. */

import type { Cio } from '../cio.ts'
import type { ConnectOptions } from '../client/connect-options.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { Middleware, Next } from '../pipeline/middleware.ts'
import {
  checkDuration,
  checkFunction,
  checkObject,
  checkOptionNames,
  optionError,
} from '../options.ts'
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

const known = [
  'pipelines',
  'counterpart',
  'setUp',
  'values',
  'talk',
  'answer',
  'listen',
  'connect',
  'except',
  'timeout',
]

/**
 * Checks the options. Without a pipeline or a value, every middleware would conform.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkConformsOptions(options: ConformsOptions): void {
  checkOptionNames('conforms', options, known)
  const { pipelines = ['client'], values = [''], except = [], timeout = 0 } = options
  for (const [name, list] of Object.entries({ pipelines, values, except })) {
    if (!Array.isArray(list) || (list.length === 0 && name !== 'except')) {
      throw optionError('conforms', name, 'a list of one or more', list)
    }
  }
  for (const end of pipelines) {
    if (end === 'connection' || end === 'client') continue
    throw optionError('conforms', 'pipelines', "'connection' and 'client'", end)
  }
  checkFunction('conforms', 'counterpart', options.counterpart ?? undefined)
  for (const name of ['setUp', 'talk', 'answer'] as const) {
    checkFunction('conforms', name, options[name])
  }
  for (const name of ['listen', 'connect'] as const) checkObject('conforms', name, options[name])
  checkDuration('conforms', 'timeout', timeout)
}
