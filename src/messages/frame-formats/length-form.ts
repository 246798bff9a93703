/** Checks the options of a length field. */

import { digit } from './numbers.ts'
import type { OptionCheck } from './option-check.ts'
import type { FieldWidth, LengthField } from './options.ts'

const known = [
  'as',
  'bytes',
  'until',
  'maxBytes',
  'at',
  'header',
  'counts',
  'plus',
  'mask',
  'endian',
]
/** Maximum bytes of a varint, and of digits. More would give numbers above 2^53. */
const mostVarint = 8
const mostDigits = 15

/** The options as an object. */
export function given(check: OptionCheck, options: unknown): LengthField {
  if (options === 'varint') return { as: 'varint' }
  if (typeof options !== 'number') {
    check.object('length', options, '1 to 8, `varint`, or an object')
    return options as LengthField
  }
  const valid = Number.isInteger(options) && options >= 1 && options <= 8
  if (!valid) throw check.wrong('length', '1 to 8, `varint`, or an object', options)
  return { bytes: options as FieldWidth }
}

/** Checks the options that only one form of the number has. */
export function checkForm(check: OptionCheck, field: LengthField, as: string, until: Buffer): void {
  const { bytes, maxBytes, mask } = field
  check.names(field, known)
  check.oneOf('as', as, ['uint', 'varint', 'decimal', 'hex'])
  const isDigits = as === 'decimal' || as === 'hex'
  if (as === 'uint' && bytes === undefined) throw check.refused('give `bytes` of the length')
  if (as === 'varint' && bytes !== undefined) {
    throw check.refused('a varint has no `bytes`; `maxBytes` bounds it')
  }
  if (until.length > 0 && !isDigits) {
    throw check.refused('`until` is for digits; give `as: "decimal"` or `as: "hex"`')
  }
  if (isDigits && (bytes === undefined) === (until.length === 0)) {
    throw check.refused('digits need one of `bytes` and `until`')
  }
  if (until.length > 0 && digit(until[0], as === 'hex' ? 16 : 10) >= 0) {
    throw check.refused('`until` begins with a digit, so that the length has no end')
  }
  if (bytes !== undefined) check.whole('bytes', bytes, 1, 8)
  if (maxBytes !== undefined) {
    if (bytes !== undefined) throw check.refused('`maxBytes` is for a length without fixed `bytes`')
    check.whole('maxBytes', maxBytes, 1, as === 'varint' ? mostVarint : mostDigits)
  }
  if (as !== 'uint' && (mask !== undefined || field.endian !== undefined)) {
    throw check.refused('`mask` and `endian` are for an integer of fixed `bytes`')
  }
  if (mask !== undefined) {
    check.whole('mask', mask, 1, Math.min(256 ** bytes! - 1, Number.MAX_SAFE_INTEGER))
  }
}
