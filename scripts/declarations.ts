/** Reads declarations as the compiler writes them. */

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What applications import, middleware aside. */
export const doors: readonly string[] = ['src/index', 'src/kit', 'src/pool', 'src/testing']

/** The middleware, by file: `middleware/limit`. */
export async function middlewareFiles(): Promise<string[]> {
  const files = await readdir(join(root, 'middleware'))
  return files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => `middleware/${file.slice(0, -'.ts'.length)}`)
}

/** Writes the declarations of all sources of Cio into a folder. */
export function emitDeclarations(folder: string, ...options: readonly string[]): Promise<void> {
  return emitProject(join(root, 'tsconfig.build.json'), folder, ...options)
}

/** Writes the declarations of a project into a folder. */
export async function emitProject(
  project: string,
  folder: string,
  ...options: readonly string[]
): Promise<void> {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const args = [tsc, '-p', project, '--outDir', folder, ...options]
  await promisify(execFile)(process.execPath, args).catch((error: { stdout: string }) => {
    throw new Error(`the declarations cannot be written:\n${error.stdout}`, { cause: error })
  })
}

/** The files that these files refer to, and themselves: paths of `.d.ts` in a folder. */
export async function reachable(folder: string, from: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>()
  const visit = async (path: string): Promise<void> => {
    if (found.has(path)) return
    found.add(path)
    const text = await readFile(join(folder, path), 'utf8')
    const named = text.matchAll(/(?:\bfrom |\bimport\(|^import )["'](\.[^"']+)["']/gm)
    await Promise.all([...named].map(([, to = '']) => visit(fileOf(path, to))))
  }
  await Promise.all(from.map(visit))
  return found
}

/**
 * What each entry exports, and the declaration of every name that can be seen from there, in order of
 * their names: without comments, and without the files that they are in.
 */
export async function publicTypes(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cio-types-'))
  try {
    await emitDeclarations(folder, '--removeComments')
    const entries = [...doors, ...(await middlewareFiles())].map((entry) => `${entry}.d.ts`)
    const paths = await reachable(folder, entries)
    const modules = new Map<string, Module>()
    for (const path of paths) {
      modules.set(path, moduleOf(path, await readFile(join(folder, path), 'utf8')))
    }
    return snapshotOf(modules, entries)
  } finally {
    await rm(folder, { recursive: true })
  }
}

interface Module {
  /** Declarations by name; a name may have several: overloads, or what is merged. */
  readonly declared: ReadonlyMap<string, readonly string[]>
  /** Names of other modules, by the name that they have here. */
  readonly imported: ReadonlyMap<string, Reference>
  /** What is exported, by the name outside. */
  readonly exported: ReadonlyMap<string, Reference>
  /** Additions to the modules of others. */
  readonly augmentations: readonly string[]
}

interface Reference {
  readonly path: string
  readonly name: string
}

function snapshotOf(modules: ReadonlyMap<string, Module>, entries: readonly string[]): string {
  const lists: string[] = []
  const shown = new Map<string, string>()
  for (const entry of entries) {
    const names = [...modules.get(entry)!.exported].toSorted(([a], [b]) => (a < b ? -1 : 1))
    lists.push([`# ${importPath(entry)}`, ...names.map(([name]) => name)].join('\n'))
    for (const [, reference] of names) show(reference)
  }
  const augmentations = [...modules.values()].flatMap((module) => module.augmentations)
  const all = [...shown.values(), ...augmentations].toSorted(byName)
  return `${[...lists, '# Declarations', ...all].join('\n\n')}\n`

  function show({ path, name }: Reference): void {
    const key = `${path} ${name}`
    const module = modules.get(path)
    if (shown.has(key) || module === undefined) return
    const declared = module.declared.get(name)
    const elsewhere =
      module.imported.get(name) ?? (declared ? undefined : module.exported.get(name))
    if (declared === undefined) {
      if (elsewhere) show(elsewhere)
      return
    }
    const text = declared.join('\n')
    shown.set(key, text)
    for (const [word] of text.matchAll(/[A-Za-z_$][\w$]*/g)) {
      if (word !== name) show({ path, name: word })
    }
  }
}

/** Splits declarations at their beginnings, which alone are not indented. */
function moduleOf(path: string, text: string): Module {
  const declared = new Map<string, string[]>()
  const imported = new Map<string, Reference>()
  const exported = new Map<string, Reference>()
  const augmentations: string[] = []
  for (const statement of text.split(/\n(?=[a-z])/)) {
    const [, kind, list = '', from] =
      /^(import|export) (?:type )?\{([^}]*)\}(?: from '([^']+)')?;/.exec(statement) ?? []
    const named =
      /^(export )?(default )?(?:declare )?(?:abstract )?(?:class|function|interface|type|const|let|enum) (\w+)/.exec(
        statement,
      )
    if (kind !== undefined) {
      for (const [inside, outside] of namesOf(list)) {
        const reference = { path: from === undefined ? path : fileOf(path, from), name: inside }
        if (kind === 'export') exported.set(outside, reference)
        else if (from?.startsWith('.')) imported.set(outside, reference)
      }
    } else if (named) {
      const [, isExported, isDefault, name = ''] = named
      declared.set(name, [...(declared.get(name) ?? []), statement.trim()])
      if (isExported) exported.set(isDefault ? 'default' : name, { path, name })
    } else if (statement.startsWith('declare module')) {
      augmentations.push(statement.trim().replace(/'.*\/([\w-]+)\.ts'/, "'$1'"))
    } else if (!/^(import |export \{\};|$)/.test(statement)) {
      throw new Error(`${path}: no name found in ${statement}`)
    }
  }
  return { declared, imported, exported, augmentations }
}

/** `type A, B as C`: each name inside, and its name outside. */
function namesOf(list: string): [string, string][] {
  return list
    .split(',')
    .map((one) => one.trim().replace(/^type /, ''))
    .filter((one) => one !== '')
    .map((one) => {
      const [inside = '', outside = inside] = one.split(' as ')
      return [inside, outside]
    })
}

/** The declarations that a module names, as seen from another one. */
function fileOf(path: string, from: string): string {
  return from.startsWith('.') ? `${join(path, '..', from).replace(/\.[jt]s$/, '')}.d.ts` : from
}

function importPath(entry: string): string {
  const path = entry.replace(/\.d\.ts$/, '').replace(/^\w+\//, '')
  return path === 'index' ? 'cio' : `cio/${path}`
}

function byName(a: string, b: string): number {
  const [one, other] = [a, b].map((text) => text.replace(/^(export |declare |abstract )+\w+ /, ''))
  return one! < other! ? -1 : 1
}
