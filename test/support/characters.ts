/** Characters of strings in property tests. */

import fc from 'fast-check'

/** The code points that are halves of a surrogate pair. */
const surrogates = { first: 0xd800, count: 0x800 }

/**
 * Any character: as the unit `binary` of fast-check, which first makes a table of all, and needs a second
 * for it.
 */
export const anyCharacter: fc.Arbitrary<string> = fc
  .nat(0x10ffff - surrogates.count)
  .map(
    (index) => String.fromCodePoint(index < surrogates.first ? index : index + surrogates.count),
    indexOf,
  )

/** Lets fast-check try words such as `__proto__` too: it tries those that it can take apart. */
function indexOf(character: unknown): number {
  const [point = '', ...rest] = typeof character === 'string' ? character : ''
  const code = point.codePointAt(0)
  if (code === undefined || rest.length > 0) throw new TypeError('not one character')
  return code < surrogates.first ? code : code - surrogates.count
}
