/** Options of esbuild for all builds: ES modules for the oldest Node of `engines`. */

import type { BuildOptions } from 'esbuild'

export const forNode: BuildOptions = {
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  packages: 'external',
  logLevel: 'warning',
}
