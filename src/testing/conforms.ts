/** Checks the contract that each connection or client middleware must keep. */

import { CioError } from '../errors.ts'
import { isMiddleware } from '../pipeline/import-middleware.ts'
import type { Middleware } from '../pipeline/middleware.ts'
import { optionError } from '../options.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'
import { type ConformsOptions, checkConformsOptions } from './conforms-options.ts'
import { ConformanceRun } from './conformance-run.ts'
import { type MiddlewarePromise, nameOf } from './instrument.ts'

/** A middleware, or a function without parameters that makes one. */
export type Conforming<Needs extends object = never> = Middleware<Needs> | (() => Middleware<Needs>)

/** The result of {@link conforms}. */
export interface Conformance {
  /** The name of the middleware. */
  readonly name: string
  /** The promises that were checked and kept. */
  readonly kept: readonly MiddlewarePromise[]
}

// One run at a time: otherwise a leak of one run would be reported for another.
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
  checkConformsOptions(options)
  const { pipelines = ['connection', 'client'], except = [], timeout = 10_000 } = options
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
  const message = `\`${name}\` breaks the contract of middleware:\n${story.join('\n')}`
  const error = new CioError('ERR_CIO_NONCONFORMING', message)
  // Set afterwards, since the text has several lines, and the constructor escapes line feeds.
  throw Object.assign(error, { message })
}
