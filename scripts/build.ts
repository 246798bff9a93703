/**
 * Builds `dist/`: JavaScript by esbuild, one file an entry and shared chunks; declarations by tsc, one
 * file a source. `npm run build`. Why: docs/decisions/0018-built-by-entry.md.
 */

import { type BuildOptions, type Plugin, build } from 'esbuild'
import { chmod, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forNode, importsOfCore } from './build-options.ts'
import {
  doors,
  emitDeclarations,
  middlewareFiles,
  reachable,
  removeHidden,
} from './declarations.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const dist = join(root, 'dist')

/** Makes each entry import the core, so that it is one file. */
const oneCore = (entries: readonly string[]): Plugin => ({
  name: 'one core',
  setup: (bundle) => {
    const paths = new Set(entries.map((entry) => join(root, `${entry}.ts`)))
    bundle.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const source = await readFile(path, 'utf8')
      // esbuild keeps some of the doc comments. All of them are in the declarations.
      const contents = source.replaceAll(/^ *\/\*\*[^]*?\*\/\n/gm, '')
      return { contents: paths.has(path) ? contents + importsOfCore(path) : contents, loader: 'ts' }
    })
  },
})

const common = {
  absWorkingDir: root,
  outdir: 'dist',
  outbase: '.',
  ...forNode,
  chunkNames: '[name]-[hash]',
  metafile: true,
} as const satisfies BuildOptions

/** The command line imports Cio as an application does, not a copy of it. */
const sourcesAreBuilt: Plugin = {
  name: 'sources are built',
  setup: (bundle) => {
    bundle.onResolve({ filter: /^\.\.\/src\/\w+\.ts$/ }, ({ path }) => ({
      path: path.replace(/\.ts$/, '.js'),
      external: true,
    }))
  },
}

await rm(dist, { recursive: true, force: true })
const middleware = await middlewareFiles()
await declarations()
await javaScript()
await commandLine()

/** The compiler of an application does not need what no public declaration refers to. */
async function declarations(): Promise<void> {
  await emitDeclarations(dist)
  const entries = [...doors, ...middleware].map((entry) => `${entry}.d.ts`)
  await removeHidden(dist, entries)
  const kept = await reachable(dist, entries)
  const all = await readdir(dist, { recursive: true })
  const unused = all.filter((path) => path.endsWith('.d.ts') && !kept.has(path))
  await Promise.all(unused.map((path) => rm(join(dist, path))))
}

/**
 * A middleware that `cio` exports has a file of one line, which exports it again. So it exists only
 * once, for every import path. The others are entries: they load a package that may be missing.
 */
async function javaScript(): Promise<void> {
  const all = await exportsOf([...doors, ...middleware])
  const ofCio = new Set(all.get('src/index'))
  const named = (entry: string): string =>
    basename(entry).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
  const passedOn = middleware.filter((entry) => ofCio.has(named(entry)))
  const built = [...doors, ...middleware.filter((entry) => !passedOn.includes(entry))]
  await build({
    ...common,
    entryPoints: built.map((entry) => `${entry}.ts`),
    plugins: [oneCore(built)],
    // With one fixed name, esbuild reports an error if it would make a second chunk.
    chunkNames: 'core',
    // Otherwise esbuild drops an import that exists only for its side effect.
    ignoreAnnotations: true,
  })
  await nameExports(join(dist, 'core.js'))
  await Promise.all(
    passedOn.map((entry) => {
      const name = named(entry)
      // A name that `cio` does not export is `@internal`, and has no declaration.
      const names = all.get(entry)!.filter((one) => ofCio.has(one))
      const list = [...names, `${name} as default`].join(', ')
      return writeFile(join(dist, `${entry}.js`), `export { ${list} } from '../src/index.js'\n`)
    }),
  )
}

/** If several sources have the same name, esbuild adds numbers. Exports keep their names. */
async function nameExports(path: string): Promise<void> {
  const text = await readFile(path, 'utf8')
  const renamed = [...text.matchAll(/^ {2}(\w+) as (\w+),?$/gm)]
  const pairs = renamed.map(([, value, name]) => `[${value}, '${name}']`)
  const line = `for (const [value, name] of [${pairs.join(', ')}]) {
  if (typeof value === 'function') Object.defineProperty(value, 'name', { value: name })
}
`
  await writeFile(path, text + line)
}

async function commandLine(): Promise<void> {
  await build({
    ...common,
    entryPoints: ['cli/main.ts'],
    chunkNames: 'cli/[name]-[hash]',
    plugins: [sourcesAreBuilt],
  })
  await chmod(join(dist, 'cli', 'main.js'), 0o755)
}

/** What each file exports at run time. */
async function exportsOf(entries: readonly string[]): Promise<Map<string, readonly string[]>> {
  const { metafile } = await build({
    ...common,
    write: false,
    entryPoints: entries.map((entry) => `${entry}.ts`),
  })
  const exported = new Map<string, readonly string[]>()
  for (const { entryPoint, exports } of Object.values(metafile.outputs)) {
    if (entryPoint !== undefined) exported.set(entryPoint.replace(/\.ts$/, ''), exports)
  }
  return exported
}
