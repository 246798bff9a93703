/** Debug lines, for troubleshooting: `DEBUG=cio:*`. */

import { createRequire } from 'node:module'

/** Writes a debug line to stderr: a format as `util.format` has it, and its values. */
export interface Debug {
  (format: string, ...values: unknown[]): void
  /** Whether `DEBUG` names these lines. Check it before you build values for them alone. */
  readonly enabled: boolean
}

const off: Debug = Object.assign(() => {}, { enabled: false })
let make: ((name: string) => Debug) | undefined

/**
 * The debug lines of a middleware, by the package [debug](https://www.npmjs.com/package/debug). Each
 * begins with the name. The variable `DEBUG` has the names, separated by commas or spaces; `*` stands for any
 * text, and `-` before a name excludes it. Without it, nothing is written. It is read when the process
 * starts: `debug.enable()` later enables nothing that was off without `DEBUG`.
 *
 * @param name that of your package, and of the part of it: `cio-stomp`, `cio-stomp:frames`
 *
 * @example
 * import type { Middleware, StreamContext } from 'cio'
 * import { debug } from 'cio/kit'
 *
 * const log = debug('cio-trace')
 *
 * export const trace: Middleware<StreamContext> = async function trace(ctx, next) {
 *   log('%d %s', ctx.id, ctx.remote)
 *   await next()
 * }
 */
export function debug(name: string): Debug {
  if (!process.env['DEBUG']) return off
  make ??= load()
  return make(name)
}

// Not imported above: it would take a fifth of the processor time of `import 'cio'`.
function load(): (name: string) => Debug {
  try {
    return createRequire(import.meta.url)('debug') as (name: string) => Debug
  } catch {
    // An application that was bundled into one file has no packages, and must start also with `DEBUG`.
    return () => off
  }
}
