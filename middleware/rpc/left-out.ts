/** Results that would make a response without a result. */

import { CioError } from '../../src/errors.ts'

/** Whether JSON leaves a value out of the object that holds it. */
export function isLeftOut(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) {
    return typeof value === 'function' || typeof value === 'symbol'
  }
  // Bytes have a `toJSON` that makes an array of each, and never leaves anything out.
  if (ArrayBuffer.isView(value) || !('toJSON' in value)) return false
  const { toJSON } = value
  if (typeof toJSON !== 'function') return false
  try {
    const replaced: unknown = toJSON.call(value, 'result')
    return ['undefined', 'function', 'symbol'].includes(typeof replaced)
  } catch {
    // It throws again where it is encoded, which names it.
    return false
  }
}

/** The error of a method that returned such a value. */
export function withoutForm(method: string): CioError {
  return new CioError(
    'ERR_CIO_ENCODE',
    `rpc: \`${method}\` returned a value that JSON leaves out, such as a function; return a plain value`,
  )
}
