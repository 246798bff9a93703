/** Reads the packages, so that they stand on what any other package of Cio could stand on. */

import test from 'ava'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../packages/', import.meta.url))

/** Code lines that a file may have, comments stripped; as in `src/`. */
const budget = 200
const names = ['cluster', 'watch']

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}

const packages = await Promise.all(
  names.map(async (name) => {
    const root = join(folder, name, 'src')
    const files = (await readdir(root, { recursive: true })).filter((file) => file.endsWith('.ts'))
    const sources = await Promise.all(
      files.map(async (file) => {
        const text = await readFile(join(root, file), 'utf8')
        return { file: `${name}/src/${file}`, code: withoutComments(text) }
      }),
    )
    const manifest = JSON.parse(
      await readFile(join(folder, name, 'package.json'), 'utf8'),
    ) as Manifest
    return { name, manifest, sources }
  }),
)

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[^]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '')
}

function importsOf(code: string): string[] {
  const statements = /^(?:import|export) (?:[^']* from )?'([^']+)'|\bimport\('([^']+)'\)/gm
  return [...code.matchAll(statements)].map(([, from, late]) => from ?? late!)
}

for (const { name, manifest, sources } of packages) {
  test(`${name} imports the public doors of Cio alone`, (t) => {
    t.true(sources.length > 5)
    for (const { file, code } of sources) {
      for (const from of importsOf(code)) {
        if (/^node:[\w/]+$/.test(from) || /^cio(?:\/[\w-]+)?$/.test(from)) continue
        if (from.startsWith('.')) {
          // Its own files, and its own manifest; never a path into another package.
          const target = join('/', file, '..', from)
          t.true(target.startsWith(`/${name}/`), `${file}: ${from}`)
          t.regex(from, /\.ts$|^(?:\.\.\/)+package\.json$/, file)
          continue
        }
        const [scope, rest] = from.split('/')
        const owner = scope!.startsWith('@') ? `${scope}/${rest}` : scope!
        const isOptional = manifest.peerDependenciesMeta?.[owner]?.optional === true
        t.true(owner in (manifest.dependencies ?? {}) || isOptional, `${file}: ${from}`)
      }
    }
  })

  test(`no file of ${name} has outgrown its budget of code lines`, (t) => {
    for (const { file, code } of sources) {
      const lines = code.split('\n').filter((line) => line.trim() !== '').length
      t.true(lines <= budget, `${file} has ${lines} lines`)
    }
  })

  test(`an optional package is loaded by one door of ${name}, and not by its index`, (t) => {
    const optional = Object.keys(manifest.peerDependenciesMeta ?? {})
    const needs = new Map(sources.map(({ file, code }) => [file, importsOf(code)]))
    const reached = new Set<string>()
    const visit = (file: string): void => {
      if (reached.has(file)) return
      reached.add(file)
      for (const from of needs.get(file) ?? []) {
        t.false(
          optional.some((one) => from === one || from.startsWith(`${one}/`)),
          `${file}: ${from}`,
        )
        if (from.endsWith('.ts')) visit(join(file, '..', from))
      }
    }
    visit(`${name}/src/index.ts`)
    t.true(reached.size > 5)
  })
}
