/** Finds results, and parts of results, that JSON would omit from the message. */

import { CioError } from '../../src/errors.ts'

/** Whether JSON omits a value from its object. */
export function isOmitted(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) {
    return typeof value === 'function' || typeof value === 'symbol'
  }
  // Typed arrays have a `toJSON` that creates an array, and is never omitted.
  if (ArrayBuffer.isView(value) || !('toJSON' in value)) return false
  const { toJSON } = value
  if (typeof toJSON !== 'function') return false
  try {
    const replaced: unknown = toJSON.call(value, 'result')
    return ['undefined', 'function', 'symbol'].includes(typeof replaced)
  } catch {
    // It throws again during encoding, with an error that names it.
    return false
  }
}

/** The error of a method that returned such a value. */
export function omittedError(method: string): CioError {
  return new CioError(
    'ERR_CIO_ENCODE',
    `rpc: \`${method}\` returned or yielded a value that JSON leaves out, such as a function; return a plain value`,
  )
}
