/** Reads declarations as the compiler writes them. */

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
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
  const lists = entries.map((entry) => {
    const names = [...modules.get(entry)!.exported.keys()].toSorted()
    return [`# ${importPath(entry)}`, ...names].join('\n')
  })
  const shown = [...visibleFrom(entries, modules).values()].filter((text) => text !== '')
  const augmentations = [...modules.values()].flatMap((module) => module.augmentations)
  const all = [...shown, ...augmentations].toSorted(byName)
  return `${[...lists, '# Declarations', ...all].join('\n\n')}\n`
}

/** Each name that can be seen from the entries, after its file, and its declarations there. */
function visibleFrom(
  entries: readonly string[],
  modules: ReadonlyMap<string, Module>,
): ReadonlyMap<string, string> {
  const seen = new Map<string, string>()
  for (const path of entries) {
    for (const name of modules.get(path)!.exported.keys()) see(path, name)
  }
  for (const [path, module] of modules) {
    for (const text of module.augmentations) read(path, text)
  }
  return seen

  function see(path: string, name: string): void {
    const key = `${path} ${name}`
    const module = modules.get(path)
    if (seen.has(key) || module === undefined) return
    const text = module.declared.get(name)?.join('\n')
    const elsewhere =
      text === undefined ? (module.imported.get(name) ?? module.exported.get(name)) : undefined
    if (text === undefined && elsewhere === undefined) return
    seen.set(key, text ?? '')
    if (text !== undefined) read(path, text)
    if (elsewhere) see(elsewhere.path, elsewhere.name)
  }

  function read(path: string, text: string): void {
    for (const name of wordsOf(text)) see(path, name)
  }
}

/**
 * Leaves only what can be seen from the entries, and no comment of a whole file, which no editor
 * shows.
 */
export async function removeHidden(folder: string, entries: readonly string[]): Promise<void> {
  const texts = new Map<string, string>()
  for (const path of await reachable(folder, entries)) {
    texts.set(path, await readFile(join(folder, path), 'utf8'))
  }
  const visible = visibleFrom(
    entries,
    new Map([...texts].map(([path, text]) => [path, moduleOf(path, text)])),
  )
  for (const [path, text] of texts) {
    const isVisible = (name: string): boolean => visible.has(`${path} ${name}`)
    const statements = statementsOf(text)
    const kept = statements.filter(({ name }) => name === undefined || isVisible(name))
    const used = new Set(kept.flatMap(({ list, text }) => (list ? [] : wordsOf(text))))
    const lines = kept.map((statement) => {
      const { kind, list, from } = statement
      if (!list) return statement.text
      const names = list.split(',').filter((one) => {
        const [[, outside] = ['', '']] = namesOf(one)
        return kind === 'import' && !from?.startsWith('.') ? used.has(outside) : isVisible(outside)
      })
      return names.length > 0 ? statement.text.replace(list, names.join(',')) : ''
    })
    // Without it, all declarations of a file are exported.
    if (/^export \{\};/m.test(text)) lines.push('export {};')
    await writeFile(join(folder, path), `${lines.filter((line) => line !== '').join('\n')}\n`)
  }
}

interface Statement {
  /** With its doc comment. */
  readonly text: string
  /** The name that it declares. */
  readonly name?: string | undefined
  readonly isExported: boolean
  readonly isDefault: boolean
  /** What a list of imports or exports says. */
  readonly kind?: string | undefined
  readonly list?: string | undefined
  readonly from?: string | undefined
}

/** Splits declarations at their beginnings, which alone are not indented. */
function statementsOf(file: string): Statement[] {
  return file
    .split(/(?<!\*\/)\n(?=(?:\/\*\*(?:(?!\*\/)[^])*\*\/\n)*[a-z])/)
    .map((commented) => {
      const [comments] = /^(?:\/\*\*(?:(?!\*\/)[^])*\*\/\s*)*/.exec(commented)!
      const bare = commented.slice(comments.length).trim()
      // The comment before it is that of the file.
      const text = comments.slice(comments.lastIndexOf('/**')) + bare
      const [, kind, list, from] =
        /^(import|export) (?:type )?\{([^}]*)\}(?: from '([^']+)')?;/.exec(bare) ?? []
      if (list !== undefined) {
        return { text: bare, kind, list, from, isExported: false, isDefault: false }
      }
      const [, isExported, isDefault, name] =
        /^(export )?(default )?(?:declare )?(?:abstract )?(?:class|function|interface|type|const|let|enum) (\w+)/.exec(
          bare,
        ) ?? []
      return { text, name, isExported: !!isExported, isDefault: !!isDefault }
    })
    .filter(({ text }) => text !== 'export {};')
}

function moduleOf(path: string, text: string): Module {
  const declared = new Map<string, string[]>()
  const imported = new Map<string, Reference>()
  const exported = new Map<string, Reference>()
  const augmentations: string[] = []
  for (const { text: statement, name, kind, list = '', from, ...is } of statementsOf(text)) {
    if (kind !== undefined) {
      for (const [inside, outside] of namesOf(list)) {
        const reference = { path: from === undefined ? path : fileOf(path, from), name: inside }
        if (kind === 'export') exported.set(outside, reference)
        else if (from?.startsWith('.')) imported.set(outside, reference)
      }
    } else if (name !== undefined) {
      declared.set(name, [...(declared.get(name) ?? []), statement])
      if (is.isExported) exported.set(is.isDefault ? 'default' : name, { path, name })
    } else if (statement.startsWith('declare module')) {
      augmentations.push(statement.replace(/'.*\/([\w-]+)\.ts'/, "'$1'"))
    } else if (!statement.startsWith('import ')) {
      throw new Error(`${path}: no name found in ${statement}`)
    }
  }
  return { declared, imported, exported, augmentations }
}

/** The words of declarations, those of comments aside. */
function wordsOf(text: string): string[] {
  return text.replaceAll(/\/\*[^]*?\*\//g, '').match(/[A-Za-z_$][\w$]*/g) ?? []
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
