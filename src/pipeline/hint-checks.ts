/** Checks the hints of a whole pipeline before it is composed. */

import { nearest } from '../did-you-mean.ts'
import { CioError } from '../errors.ts'
import { type Registration, hintsOf, isCalled, nameOf } from './registration.ts'

type Entries = readonly Registration<never>[]

/**
 * Checks that the entries that others require are there and enabled.
 *
 * @throws `ERR_CIO_REQUIRES`
 */
export function checkRequires(kind: string, entries: Entries): void {
  const enabled = entries.filter((entry) => entry.enabled)
  for (const entry of enabled) {
    const { name, requires } = hintsOf(entry)
    const missing = requires.find((required) => !isAmong(enabled, required))
    if (missing === undefined) continue
    throw new CioError(
      'ERR_CIO_REQUIRES',
      `\`${name}\` requires \`${missing}\`, which is not in the ${kind} pipeline or is disabled; register \`${missing}\` or remove \`${name}\` (at ${entry.at})`,
    )
  }
}

/**
 * A hint may name an absent middleware. So a misspelt name would silently do nothing: it gets a
 * warning.
 */
export function warnOfHints(kind: string, entries: Entries, warned: Set<string>): void {
  const names = new Set(entries.map(nameOf))
  for (const entry of entries) {
    const { name, before, after } = hintsOf(entry)
    for (const hint of [...before, ...after]) {
      const meant = hint === '*' || isAmong(entries, hint) ? undefined : nearest(hint, names)
      const warning = `\`${name}\` (at ${entry.at}) has a hint for \`${hint}\`, which is not in the ${kind} pipeline; did you mean \`${meant}\`?`
      if (meant === undefined || warned.has(warning)) continue
      warned.add(warning)
      process.emitWarning(warning, { type: 'CioWarning', code: 'CIO_HINT' })
    }
  }
}

function isAmong(entries: Entries, name: string): boolean {
  return entries.some((entry) => isCalled(entry, name))
}
