/** Checks options when a middleware is created, so that a mistake is found at the start. */

import { isPromise } from 'node:util/types'
import { nearest } from './did-you-mean.ts'
import { CioError, describe } from './errors.ts'

/** The longest delay of a Node timer; above it, the timer fires after 1 ms. */
export const maxTimerDelay: number = 2 ** 31 - 1

/** Makes the error of an option: `owner` and `option` name it, `rule` says what is expected. */
export function optionError(owner: string, option: string, rule: string, value: unknown): CioError {
  if (isContext(value)) return notCalledError(owner)
  return new CioError(
    'ERR_CIO_OPTION',
    `${owner}: expected \`${option}\` to be ${rule}, got ${describe(value)}`,
  )
}

/**
 * Checks a number of milliseconds; `Infinity` means no bound.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkDuration(owner: string, option: string, value: unknown): void {
  const valid =
    typeof value === 'number' && value >= 0 && (value <= maxTimerDelay || value === Infinity)
  if (!valid) {
    const rule = `milliseconds from 0 to ${maxTimerDelay}, or Infinity`
    throw optionError(owner, option, rule, value)
  }
}

/**
 * Checks a whole number; `Infinity` means no bound.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkCount(owner: string, option: string, value: unknown, least = 0): void {
  const valid =
    typeof value === 'number' && value >= least && (Number.isInteger(value) || value === Infinity)
  if (!valid) {
    throw optionError(owner, option, `a whole number of at least ${least}, or Infinity`, value)
  }
}

/**
 * Checks a boolean, if given. A string such as `false`, of an environment variable, is true in a condition.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkFlag(owner: string, option: string, value: unknown): void {
  if (value === undefined || typeof value === 'boolean') return
  throw optionError(owner, option, 'true or false', value)
}

/**
 * Checks an object of named values, if given: no null, no array and no promise of one.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkObject(owner: string, option: string, value: unknown): void {
  if (value === undefined) return
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw optionError(owner, option, 'an object', value)
  }
  // A promise has no names, so it would stand for an empty object, which sets nothing.
  if (isPromise(value)) throw optionError(owner, option, 'an object; await the promise', value)
}

/**
 * Checks an AbortSignal, if given.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkSignal(owner: string, value: unknown): void {
  if (value === undefined) return
  const methods = ['addEventListener', 'removeEventListener', 'throwIfAborted']
  checkMethods(owner, 'signal', 'an AbortSignal', value, methods)
}

/**
 * Checks an object that is used by its methods: of another package, or of another call of this one.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkMethods(
  owner: string,
  option: string,
  rule: string,
  value: unknown,
  methods: readonly string[],
): void {
  const made = value as Readonly<Record<string, unknown>> | null | undefined
  if (methods.every((name) => typeof made?.[name] === 'function')) return
  throw optionError(owner, option, rule, value)
}

/**
 * Checks a function, if given.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkFunction(owner: string, option: string, value: unknown): void {
  if (value === undefined || typeof value === 'function') return
  throw optionError(owner, option, 'a function', value)
}

/**
 * Refuses unknown options, so that a typo does not turn a setting off silently.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkOptionNames(owner: string, options: object, known: readonly string[]): void {
  checkCalled(owner, options)
  // `timeout(5_000)` would be a `timeout` with its defaults.
  if (options === undefined) throw optionError(owner, 'options', 'an object', options)
  checkObject(owner, 'options', options)
  // Inherited ones too, since they are read as well.
  for (const option in options) {
    if (known.includes(option)) continue
    if (!Object.hasOwn(options, option) && option in Object.prototype) continue
    const meant = nearest(option, known)
    const hint = meant === undefined ? '' : `; did you mean \`${meant}\`?`
    throw new CioError(
      'ERR_CIO_OPTION',
      `${owner}: \`${option}\` is not an option of it; it has ${known.map((name) => `\`${name}\``).join(', ')}${hint}`,
    )
  }
}

/**
 * Refuses a context instead of options.
 *
 * @throws `ERR_CIO_NOT_CALLED`
 */
export function checkCalled(owner: string, options: unknown): void {
  if (isContext(options)) throw notCalledError(owner)
}

/** Whether options are a context: then the factory was registered without being called. */
function isContext(options: unknown): boolean {
  return typeof options === 'object' && options !== null && 'step' in options && 'app' in options
}

function notCalledError(owner: string): CioError {
  return new CioError(
    'ERR_CIO_NOT_CALLED',
    `\`${owner}\` got a context instead of options: it is a factory and not a middleware; register \`${owner}()\``,
  )
}
