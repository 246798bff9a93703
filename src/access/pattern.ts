/** Patterns from the application, used for many texts. */

/**
 * A test that always starts at the beginning of the text. A RegExp with the flag `g` or `y` would
 * continue where it stopped, and match only every other time.
 *
 * All flags keep their meaning. A sticky pattern (`y`) matches only at the beginning of a text.
 */
export function compilePattern(pattern: RegExp, anyCase = false): (text: string) => boolean {
  // A copy, since the application may change the pattern (`lastIndex`, `compile()`).
  const flags = anyCase && !pattern.ignoreCase ? `${pattern.flags}i` : pattern.flags
  const own = new RegExp(pattern.source, flags)
  return (text) => {
    own.lastIndex = 0
    return own.test(text)
  }
}
