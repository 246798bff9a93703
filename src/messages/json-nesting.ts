/** A bound for the nesting of JSON. */

/**
 * The most levels of arrays and objects. `JSON.parse` reads any number. Code that calls itself for each
 * level has no room on the stack for as many: `isDeepStrictEqual` from some 2,000 levels on,
 * `structuredClone` from 4,000, `JSON.stringify` from 5,000 (before Node 26).
 */
export const maxJsonDepth = 1_000

/**
 * Whether a value that was parsed from a text is nested deeper than {@link maxJsonDepth}. A text that
 * is short, or has few arrays and objects, costs almost nothing: such a value is not walked.
 *
 * The walk comes after the parse, because it takes a tenth of the time of a scan of the text, and the
 * parse itself has no fault: it takes no more than twice that of other values of as many bytes.
 */
export function isTooDeep(text: string, value: unknown): boolean {
  // A level has two characters at least.
  if (text.length < 2 * maxJsonDepth) return false
  if (hasAtMost('[', maxJsonDepth / 2, text) && hasAtMost('{', maxJsonDepth / 2, text)) return false
  return isObject(value) && isDeeperThan(maxJsonDepth, value)
}

function hasAtMost(character: string, most: number, text: string): boolean {
  let at = -1
  for (let count = 0; count <= most; count++) {
    at = text.indexOf(character, at + 1)
    if (at < 0) return true
  }
  return false
}

function isDeeperThan(levels: number, value: object): boolean {
  if (levels === 0) return true
  if (Array.isArray(value)) {
    // By an iterator, or `some`, an array of points takes three times as long.
    for (let index = 0; index < value.length; index++) {
      const item: unknown = value[index]
      if (isObject(item) && isDeeperThan(levels - 1, item)) return true
    }
    return false
  }
  // `Object.values` would make an array of each object.
  for (const name in value) {
    const item = (value as Readonly<Record<string, unknown>>)[name]
    if (isObject(item) && isDeeperThan(levels - 1, item)) return true
  }
  return false
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
