/** Checks what any good middleware of a connection or a client keeps to. */

import type { Cio } from '../cio.ts'
import type { ConnectOptions } from '../client/client.ts'
import { CioError } from '../errors.ts'
import { isMiddleware } from '../pipeline/import-middleware.ts'
import type { Middleware, Next } from '../pipeline/middleware.ts'
import { checkDuration, checkOptionNames, optionError } from '../options.ts'
import type { ListenOptions } from '../server/server.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { End } from './scenario.ts'
import { ConformanceRun } from './conformance-run.ts'
import { type MiddlewarePromise, nameOf } from './instrument.ts'

/** A middleware, or a function that makes one without being given anything. */
export type Conforming<Needs extends object = never> = Middleware<Needs> | (() => Middleware<Needs>)

/** Options of {@link conforms}. */
export interface ConformsOptions {
  /**
   * The pipelines that it is for.
   *
   * @default ['connection', 'client']
   */
  readonly pipelines?: readonly End[]
  /**
   * Makes the middleware at the other end, which has to speak the same; null for none.
   *
   * @default the same
   */
  readonly counterpart?: (() => Middleware<never>) | null
  /**
   * Registers what it needs, at both ends, before it: such as a codec.
   *
   * @default nothing
   */
  readonly setUp?: (app: Cio, end: End) => void
  /**
   * What is sent both ways, where it or what it needs makes `ctx.messages`.
   *
   * @default some strings
   */
  readonly values?: readonly unknown[]
  /**
   * What the other side does, where it is not to send something and to expect it back; throws if
   * the answer is wrong. For a middleware that answers by itself.
   *
   * @default sends what comes back
   */
  readonly talk?: (ctx: StreamContext, connection: number) => unknown
  /**
   * The handler inside of it.
   *
   * @default sends back what comes
   */
  readonly answer?: (ctx: StreamContext, next: Next) => unknown
  /**
   * What the server is given: `key` and `cert` make it speak TLS.
   *
   * @default nothing
   */
  readonly listen?: ListenOptions
  /**
   * What the client is given: `ca` makes it speak TLS.
   *
   * @default nothing
   */
  readonly connect?: ConnectOptions
  /**
   * Promises that it need not keep. Say why where you call this.
   *
   * @default none
   */
  readonly except?: readonly MiddlewarePromise[]
  /**
   * Milliseconds for each scene to be over.
   *
   * @default 10_000
   */
  readonly timeout?: number
}

/** What {@link conforms} found. */
export interface Conformance {
  readonly name: string
  /** The promises that were tried, and kept. */
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
// One trial at a time: what one leaves in the process would be told of another.
let last: Promise<void> = Promise.resolve()

/**
 * Checks that a middleware keeps to what others rely on, over in-memory connections.
 *
 * It has a name; carries a conversation; calls `next()` once, unless it declares `repeats`, and
 * waits for it; passes errors and both sides' ends on; puts back the stream and the messages that it
 * replaces; leaves no listener, timer or handle behind; works twice in a process, and on several
 * connections at once; and survives that the peer leaves, at any moment. A middleware that never
 * calls `next()` is not asked for what comes with it.
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
