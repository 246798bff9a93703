/**
 * Builds in `build/tests` what `npm test` runs: each test and each program that a test starts is one
 * file, with chunks that they share. Through tsx, a process takes a second longer to load them.
 */

import { type Plugin, build } from 'esbuild'
import { readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { forNode } from './build-options.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const outdir = join(root, 'build', 'tests')

/** Whole programs, long tests and rules of the sources: `test:cases`, `test:house`, `test:packages` and `interop`. */
const elsewhere =
  /^(cases|interop)\/|^(api|cli|create-cio|docs|examples|house|many-processes|package|public-types)\.test\.ts$/

/** A test still finds the files beside its source. */
const inPlace: Plugin = {
  name: 'in place',
  setup: (bundle) => {
    bundle.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      const url = JSON.stringify(pathToFileURL(path).href)
      return { contents: source.replaceAll(/\bimport\.meta\.url\b/g, url), loader: 'ts' }
    })
  },
}

const tests = (await readdir(join(root, 'test'), { recursive: true })).map((path) =>
  path.replaceAll('\\', '/'),
)
const entries = [
  'src/index.ts',
  'src/testing.ts',
  ...tests
    .filter((path) => /\.test\.ts$|^fixtures\/[^/]+\.ts$/.test(path) && !elsewhere.test(path))
    .map((path) => `test/${path}`),
]

await rm(outdir, { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: entries,
  outdir,
  outbase: '.',
  ...forNode,
  keepNames: true,
  // Otherwise esbuild drops an import that exists only for its side effect.
  ignoreAnnotations: true,
  chunkNames: 'chunks/[name]-[hash]',
  sourcemap: 'linked',
  sourcesContent: false,
  plugins: [inPlace],
})
