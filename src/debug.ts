/** Debug lines, for troubleshooting: `DEBUG=cio:*`, by the rules of the package `debug`. */

import { formatWithOptions } from 'node:util'

/** Writes a debug line to stderr: a format as `util.format` has it, and its values. */
export interface Debug {
  (format: string, ...values: unknown[]): void
  /** Whether `DEBUG` names these lines. Check it before you build values for them alone. */
  readonly enabled: boolean
}

// Read once, as the package does: a line that nobody asked for must cost nothing.
const words = (process.env['DEBUG'] ?? '').split(/[\s,]+/).filter((word) => word !== '')
const skipped = words.filter((word) => word.startsWith('-')).map((word) => patternOf(word.slice(1)))
const named = words.filter((word) => !word.startsWith('-')).map(patternOf)

/**
 * The debug lines of a middleware. Each begins with the name, and on a terminal ends with the time
 * since the line before it. The variable `DEBUG` has the names, separated by commas or spaces; `*` stands for any
 * text, and `-` before a name excludes it. Without it, nothing is written.
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
  const matches = (pattern: RegExp): boolean => pattern.test(name)
  const enabled = named.some(matches) && !skipped.some(matches)
  return Object.assign(enabled ? writer(name) : () => {}, { enabled })
}

function writer(name: string): (format: string, ...values: unknown[]) => void {
  // Lines of one name have one color.
  const color = 31 + (Buffer.from(name).reduce((sum, byte) => sum + byte) % 6)
  let last: number | undefined
  return (format, ...values) => {
    const { stderr } = process
    const text = formatWithOptions({ breakLength: Infinity }, format, ...values)
    const now = Date.now()
    const since = `+${now - (last ?? now)}ms`
    last = now
    stderr.write(
      stderr.isTTY && stderr.hasColors()
        ? `  \u001B[${color};1m${name}\u001B[0m ${text} \u001B[${color}m${since}\u001B[0m\n`
        : `${new Date(now).toISOString()} ${name} ${text}\n`,
    )
  }
}

function patternOf(word: string): RegExp {
  const escaped = word.replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`)
  return new RegExp(`^${escaped.replaceAll('*', '.*')}$`)
}
