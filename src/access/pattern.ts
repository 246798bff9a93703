/** Patterns that an application gives, to be asked of one text after the other. */

/**
 * The test of a pattern, each time from the beginning of the text: one with the flag `g` or `y`
 * would go on where it has left off, and hold every other time.
 *
 * All flags keep their meaning. A sticky pattern (`y`) holds at the very beginning of a text alone.
 */
export function compilePattern(pattern: RegExp, anyCase = false): (text: string) => boolean {
  // A copy: a pattern may be changed while it is in use (`lastIndex`, `compile()`).
  const flags = anyCase && !pattern.ignoreCase ? `${pattern.flags}i` : pattern.flags
  const own = new RegExp(pattern.source, flags)
  return (text) => {
    own.lastIndex = 0
    return own.test(text)
  }
}
