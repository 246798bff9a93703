/** Errors of a middleware that does not call or await its `next()`. */

import { CioError } from '../errors.ts'

/** A middleware, as an error names it. */
export interface Named {
  readonly name: string
  /** The file and line of its registration. */
  readonly at?: string
}

/** A middleware returned before its `next()` had. */
export function notAwaited(step: Named): CioError {
  return new CioError(
    'ERR_CIO_NOT_AWAITED',
    `${label(step)} returned while its next() was still running; write \`await next()\` or \`return next()\``,
  )
}

/** A middleware returned a function, and did not call `next()`. */
export function notCalled(step: Named): CioError {
  return new CioError(
    'ERR_CIO_NOT_CALLED',
    `${label(step)} returned a function and did not call next(), as a factory does; call the factory and register what it returns: \`${step.name}()\``,
  )
}

/** A name and its call site, since functions without a name are all called the same. */
export function label({ name, at }: Named): string {
  return at === undefined || at === 'unknown' ? `\`${name}\`` : `\`${name}\` (at ${at})`
}
