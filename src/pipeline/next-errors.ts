/** Errors of a middleware that does not call or await its `next()`. */

import { CioError } from '../errors.ts'

/** The parts of a middleware that an error names. */
export interface Named {
  readonly name: string
  /** The file and line of its registration. */
  readonly at?: string
}

/** The error of a middleware that returned before its `next()` had settled. */
export function notAwaited(step: Named): CioError {
  return new CioError(
    'ERR_CIO_NOT_AWAITED',
    `${label(step)} returned while its next() was still running; write \`await next()\` or \`return next()\``,
  )
}

/** The error of a middleware that returned a function, and did not call `next()`. */
export function notCalled(step: Named): CioError {
  return new CioError(
    'ERR_CIO_NOT_CALLED',
    `${label(step)} returned a function and did not call next(), as a factory does; call the factory and register what it returns: \`${step.name}()\``,
  )
}

/** A name and its call site, since all functions without a name have the same one. */
function label({ name, at }: Named): string {
  return at === undefined || at === 'unknown' ? `\`${name}\`` : `\`${name}\` (at ${at})`
}

/** A second `next()`, or one that came before the last was done. */
export function calledTwice(step: Named, repeats: boolean): CioError {
  const when = repeats ? 'while its last next() was still running; await it first' : 'in one run'
  return new CioError(
    'ERR_CIO_NEXT_TWICE',
    `next() called multiple times by ${label(step)}, ${when}`,
  )
}

/** A `next()` after its middleware has returned. */
export function calledLate(step: Named): CioError {
  return new CioError(
    'ERR_CIO_NOT_AWAITED',
    `${label(step)} called next() after it had returned, so next() ran nothing; await what calls it`,
  )
}
