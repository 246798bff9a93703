/** Probes of connections and clients: the argument of `app.observe()`. */

import type { App } from './app.ts'
import { optionError } from '../options.ts'
import type { PipelineProbe } from '../pipeline/probe.ts'
import type { StreamContext } from './stream-context.ts'

/**
 * Watches connections and clients: for metrics, traces and logs. The argument of `app.observe()`.
 *
 * All methods are optional and must return quickly: each runs in the path of every connection. If one
 * throws, `error` reports it, and the connection goes on. A probe keeps its own data for a context
 * under a symbol of its own, or in a `WeakMap`.
 *
 * @example
 * import { Cio, type StreamContext } from 'cio'
 * import type { Probe } from 'cio/kit'
 *
 * const slow: Probe = {
 *   step(ctx: StreamContext, name: string, duration: number) {
 *     if (duration > 1_000) console.warn(`${ctx.id} took ${duration} ms to pass ${name}`)
 *   },
 * }
 * const app = new Cio()
 * const observation = app.observe(slow)
 * observation[Symbol.dispose]()
 */
export interface Probe extends PipelineProbe<StreamContext> {}

const methods = ['begin', 'end', 'step', 'call', 'called'] as const

/**
 * Adds a probe to both pipelines with a stream, for runs that begin from now on.
 *
 * @throws `ERR_CIO_OPTION`: it is not an object with methods of a probe
 */
export function observe({ pipelines }: App, probe: Probe): Disposable {
  const isProbe = typeof probe === 'object' && probe !== null
  const given = isProbe ? methods.filter((name) => probe[name] !== undefined) : []
  if (given.length === 0 || given.some((name) => typeof probe[name] !== 'function')) {
    throw optionError(
      'observe',
      'probe',
      'an object with `begin`, `end`, `step`, `call` or `called`',
      probe,
    )
  }
  const removals = [pipelines.connection.observe(probe), pipelines.client.observe(probe)]
  return {
    [Symbol.dispose]() {
      for (const remove of removals) remove()
    },
  }
}
