/** The short form of the tests, which `npm test` runs, and the long one: `CIO_TESTS=long`. */

const isLong = process.env['CIO_TESTS'] === 'long'

/** How many inputs of a kind, or which: the second value is a sample of the first. */
export function many<T>(long: T, short: T): T {
  return isLong ? long : short
}

/** Registers tests of which a smaller sample would show nothing, such as how a cost grows. */
export function inLongForm(register: () => void): void {
  if (isLong) register()
}
