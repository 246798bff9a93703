/**
 * Builds in `build/tests` what `npm test` runs: each test and each program that a test starts is one
 * file, with chunks that they share. Through tsx, a process takes a second longer to load them. Short
 * tests of one folder are one file together: a process costs more than they do.
 */

import { type Plugin, build } from 'esbuild'
import { readFile, readdir, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { forNode, importsOfCore } from './build-options.ts'
import { mapByLine } from './line-map.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const outdir = join(root, 'build', 'tests')

/** Whole programs, long tests and rules of the sources: `test:cases`, `test:house`, `test:packages` and `interop`. */
const elsewhere =
  /^(cases|interop|vectors)\/|^(api|cli|create-cio|docs|examples|house|many-processes|package|public-types|wires)\.test\.ts$/

/** Folders of short tests. */
const together = ['access', 'identity', 'lifecycle', 'messages', 'pipeline', 'rates', 'streams']

/** Of a file that sees or changes its whole process, or has a deadline that the tests of others could use up. */
const needsProcess = new RegExp(
  [
    String.raw`\btest\.(serial|before|after)`,
    String.raw`\bprocess\.(on|cpuUsage|memoryUsage|chdir)\b`,
    'support/cost|async_hooks|stackTraceLimit',
    String.raw`\bset(Timeout|Interval)\b|[tT]imeout: ?[1-9]`,
  ].join('|'),
)

const tests = (await readdir(join(root, 'test'), { recursive: true })).map((path) =>
  path.replaceAll('\\', '/'),
)
/** The tests of each folder that share a process. */
const groups = new Map<string, string[]>()
const entries = [
  'src/index.ts',
  'src/testing.ts',
  'src/pipeline/call-site.ts',
  'src/pipeline/import-middleware.ts',
  ...tests
    .filter((path) => /\.test\.ts$|^fixtures\/[^/]+\.ts$/.test(path) && !elsewhere.test(path))
    .map((path) => `test/${path}`),
]
for (const path of entries) {
  const folder = dirname(path)
  if (!together.includes(folder.replace(/^test\//, ''))) continue
  if (needsProcess.test(await readFile(join(root, path), 'utf8'))) continue
  groups.set(folder, [...(groups.get(folder) ?? []), path])
}
const grouped = [...groups.values()].flat()
const single = entries.filter((path) => !grouped.includes(path))

/** A test still finds the files beside its source, and loads the core as one file. */
const inPlace: Plugin = {
  name: 'in place',
  setup: (bundle) => {
    const paths = new Set(single.map((entry) => join(root, entry)))
    const members = new Set(grouped.map((path) => join(root, path)))
    bundle.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      const url = JSON.stringify(pathToFileURL(path).href)
      let contents = source.replaceAll(/\bimport\.meta\.url\b/g, url)
      if (paths.has(path)) contents += importsOfCore(path)
      if (members.has(path)) contents = asMember(contents, basename(path, '.test.ts'))
      return { contents, loader: 'ts' }
    })
    bundle.onResolve({ filter: /^test\/\w+$/ }, ({ path }) =>
      groups.has(path) ? { path, namespace: 'group' } : undefined,
    )
    bundle.onLoad({ filter: /./, namespace: 'group' }, ({ path }) => {
      const imports = groups.get(path)!.map((member) => `import ${JSON.stringify(`./${member}`)}\n`)
      return { contents: imports.join('') + importsOfCore(path), resolveDir: root, loader: 'ts' }
    })
  },
}

/** On the line of the import, so that all lines stay where they are. */
function asMember(source: string, name: string): string {
  const support = JSON.stringify(join(root, 'test/support/in-file.ts'))
  return source.replace(
    /^import test\b(.*) from 'ava'$/m,
    (_, types: string) =>
      `import ava${types} from 'ava'; import { inFile } from ${support}; const test = inFile(ava, '${name}')`,
  )
}

await rm(outdir, { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: [
    ...single.map((path) => ({ in: path, out: path.replace(/\.ts$/, '') })),
    ...[...groups.keys()].map((folder) => ({ in: folder, out: `${folder}.test` })),
  ],
  outdir,
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
