/** Packages that only some commands need. */

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** The URL of a module, resolved from the working directory, or else from Cio. */
export function find(name: string): string | undefined {
  for (const place of [join(process.cwd(), 'package.json'), import.meta.filename]) {
    try {
      return pathToFileURL(createRequire(place).resolve(name)).href
    } catch {
      // Not found here: try the next place.
    }
  }
  return undefined
}
