/**
 * Builds in `build/tests` what `npm test` runs: each test and each program that a test starts is one
 * file, with chunks that they share. Through tsx, a process takes a second longer to load them.
 */

import { type Plugin, build } from 'esbuild'
import { readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { forNode, importsOfCore } from './build-options.ts'
import { mapByLine } from './line-map.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const outdir = join(root, 'build', 'tests')

/** Whole programs, long tests and rules of the sources: `test:cases`, `test:house`, `test:packages` and `interop`. */
const elsewhere =
  /^(cases|interop|vectors)\/|^(api|cli|create-cio|docs|examples|house|many-processes|package|public-types|wires)\.test\.ts$/

const tests = (await readdir(join(root, 'test'), { recursive: true })).map((path) =>
  path.replaceAll('\\', '/'),
)
const entries = [
  'src/index.ts',
  'src/testing.ts',
  'src/pipeline/call-site.ts',
  'src/pipeline/import-middleware.ts',
  ...tests
    .filter((path) => /\.test\.ts$|^fixtures\/[^/]+\.ts$/.test(path) && !elsewhere.test(path))
    .map((path) => `test/${path}`),
]

/** A test still finds the files beside its source, and loads the core as one file. */
const inPlace: Plugin = {
  name: 'in place',
  setup: (bundle) => {
    const paths = new Set(entries.map((entry) => join(root, entry)))
    bundle.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      const url = JSON.stringify(pathToFileURL(path).href)
      const contents = source.replaceAll(/\bimport\.meta\.url\b/g, url)
      return { contents: paths.has(path) ? contents + importsOfCore(path) : contents, loader: 'ts' }
    })
  },
}

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
// Node reads the map of each file that it loads, and decodes it for the first stack trace.
await mapByLine(outdir)
