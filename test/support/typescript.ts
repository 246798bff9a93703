/** How tests run TypeScript in a process of its own: through tsx, or as `npm test` has built it. */

import { relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

/** The value of `--import` with which `node` runs TypeScript. */
export const typescript: string = import.meta.resolve('tsx')

const root = fileURLToPath(new URL('../..', import.meta.url))
// Set by ava.built.config.js.
const { CIO_BUILT: folder } = process.env

/** The flags with which `node` runs what imports a module that `built` gives. */
export const flags: readonly string[] = folder === undefined ? ['--import', typescript] : []

/** A module of the clone, or what `scripts/build-tests.ts` has made of it. */
export function built(module: URL): URL {
  if (folder === undefined) return module
  const path = relative(root, fileURLToPath(module)).replace(/\.ts$/, '.js')
  return pathToFileURL(`${root}${folder}/${path}`)
}

/** The words that follow `node` to run a program of the clone. */
export function wordsOf(program: URL): string[] {
  return [...flags, fileURLToPath(built(program))]
}
