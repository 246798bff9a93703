/** Options of esbuild for all builds: ES modules for the oldest Node of `engines`. */

import type { BuildOptions } from 'esbuild'
import { fileURLToPath } from 'node:url'

export const forNode: BuildOptions = {
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  logLevel: 'warning',
}

const core = ['index', 'kit'].map((door) =>
  fileURLToPath(new URL(`../src/${door}.ts`, import.meta.url)),
)

/**
 * The imports that an entry needs to import all of `cio` and `cio/kit`. esbuild makes a chunk for each
 * set of entries that share a module, so this gives one set and one file. Loading costs mainly the
 * number of files.
 */
export function importsOfCore(entry: string): string {
  return core
    .filter((door) => door !== entry)
    .map((door) => `\nimport ${JSON.stringify(door)}`)
    .join('')
}
