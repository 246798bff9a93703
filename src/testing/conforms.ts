/** Checks the contract that each connection or client middleware must keep. */

import type { Cio } from '../cio.ts'
import type { ConnectOptions } from '../client/connect-options.ts'
import { CioError } from '../errors.ts'
import { isMiddleware } from '../pipeline/import-middleware.ts'
import type { Middleware, Next } from '../pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../options.ts'
import type { ListenOptions } from '../server/server.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { End } from './scenario.ts'
import { ConformanceRun } from './conformance-run.ts'
import { type MiddlewarePromise, nameOf } from './instrument.ts'

/** A middleware, or a function without parameters that makes one. */
export type Conforming<Needs extends object = never> = Middleware<Needs> | (() => Middleware<Needs>)

/** Options of {@link conforms}. */
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
   * The behaviour of the other side; throws if the answer is wrong. For a middleware that answers
   * by itself.
   *
   * @default sends, and expects the same back
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

/** The result of {@link conforms}. */
export interface Conformance {
  readonly name: string
  /** The promises that were checked and kept. */
  readonly kept: readonly MiddlewarePromise[]
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
// One run at a time: leaks of one run would be reported for another.
let last: Promise<void> = Promise.resolve()

/**
 * Checks the contract of middleware, over in-memory connections.
 *
 * A middleware must have a name, and carry a conversation. It calls `next()` once, unless it
 * declares `repeats`, and awaits it. It passes on errors and the ends of both sides, and restores
 * the stream and the messages that it replaces. It leaks no listener, timer or handle. It works
 * twice in a process, and on several connections at once. It survives a peer that leaves at any
 * moment. A middleware that never calls `next()` is not checked for promises about `next()`.
 *
 * @param middleware The middleware, or better a function that makes it.
 * @throws `ERR_CIO_NONCONFORMING`: names each promise that was broken, in which pipeline and scene
 * @throws `ERR_CIO_OPTION`: an option is of the wrong kind or out of its range
 *
 * @example
 * import { lines } from 'cio'
 * import { conforms } from 'cio/testing'
 *
 * const { name, kept } = await conforms(() => lines())
 * console.log(name, kept.length)
 */
export async function conforms(
  middleware: Conforming,
  options: ConformsOptions = {},
): Promise<Conformance> {
  const { pipelines = ['connection', 'client'], except = [], timeout = 10_000 } = options
  checkOptionNames('conforms', options, known)
  checkDuration('conforms', 'timeout', timeout)
  if (typeof middleware !== 'function') {
    throw optionError('conforms', 'middleware', 'a middleware or a factory of one', middleware)
  }
  const make = (
    isMiddleware(middleware) ? () => middleware : middleware
  ) as () => Middleware<StreamContext>

  const trial = new ConformanceRun(make, options, timeout)
  const before = last
  let done = (): void => {}
  last = new Promise((resolve) => (done = resolve))
  await before
  try {
    for (const end of pipelines) await trial.run(end)
  } finally {
    done()
  }
  const breaks = trial.breaks.filter(({ promise }) => !except.includes(promise))
  const name = nameOf(make()) || 'a middleware without a name'
  if (breaks.length === 0) {
    const kept = [...trial.tried].filter((promise) => !except.includes(promise))
    return { name, kept }
  }
  const story = breaks.map(({ promise, where, what }) => `- ${promise}: ${where}, ${what}`)
  const message = `\`${name}\` does not keep to what a middleware promises:\n${story.join('\n')}`
  const error = new CioError('ERR_CIO_NONCONFORMING', message)
  // Its own text, of several lines: an error escapes those in the message that it is made with.
  throw Object.assign(error, { message })
}
