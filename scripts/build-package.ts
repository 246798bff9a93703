/**
 * Builds `dist/` of a package of this repository: JavaScript by esbuild, one file an entry and shared
 * chunks; declarations by tsc. `tsx scripts/build-package.ts packages/cluster`, or by its `prepack`.
 */

import { build } from 'esbuild'
import { cp, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forNode } from './build-options.ts'
import { emitProject } from './declarations.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const [folder = ''] = process.argv.slice(2)
const source = join(root, folder)
const dist = join(source, 'dist')

const { exports } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8')) as {
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>
}
/** The sources of `./dist/nats.js` and the like. */
const entryPoints = Object.values(exports).flatMap((entry) => {
  const [, name] =
    /^\.\/dist\/(.+)\.js$/.exec(typeof entry === 'string' ? entry : entry.default) ?? []
  return name === undefined ? [] : [join(source, 'src', `${name}.ts`)]
})

await rm(dist, { recursive: true, force: true })
await build({
  entryPoints,
  outdir: dist,
  ...forNode,
  // Not tsconfig.json: its `paths` would put a copy of Cio into the package.
  tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
  chunkNames: '[name]-[hash]',
})
await declarations()

/** Written beside those of Cio, which the package refers to by `cio`, and copied from there. */
async function declarations(): Promise<void> {
  const scratch = await mkdtemp(join(tmpdir(), 'cio-declarations-'))
  try {
    await emitProject(join(source, 'tsconfig.build.json'), scratch, '--rootDir', root)
    await cp(join(scratch, folder, 'src'), dist, { recursive: true })
  } finally {
    await rm(scratch, { recursive: true })
  }
}
