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
  /^(cases|interop)\/|^(api|cli|create-cio|docs|examples|house|many-processes|package|public-types)\.test\.ts$/

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

const ava = join(outdir, 'ava')

/** The tests import AVA as it is built below. */
const builtAva: Plugin = {
  name: 'built AVA',
  setup: (bundle) => {
    const path = pathToFileURL(join(ava, 'main.js')).href
    bundle.onResolve({ filter: /^ava$/ }, () => ({ path, external: true }))
  },
}

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
  plugins: [builtAva, inPlace],
})
// Node reads the map of each file that it loads, and decodes it for the first stack trace.
await mapByLine(outdir)
await buildAva()

/** The part of AVA that each process of a test loads: two files and what they share, in place of 390. */
async function buildAva(): Promise<void> {
  const source = join(root, 'node_modules', 'ava')
  await build({
    entryPoints: {
      main: join(source, 'entrypoints', 'main.mjs'),
      worker: join(source, 'lib', 'worker', 'base.js'),
    },
    // AVA leaves the lines of a folder of this name out of its reports.
    outdir: ava,
    ...forNode,
    packages: 'bundle',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    // For the CommonJS modules among its packages.
    banner: {
      js: `import { createRequire as requireFrom } from 'node:module'
const require = requireFrom(import.meta.url)`,
    },
  })
}
