/**
 * Writes the generated pages of the site, all into `docs/api/`: the API reference, from the declarations
 * that the compiler emits, and the pages of the examples. Not kept in git. `npm run docs:site`.
 */

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { docComment, summaryOf } from './pages.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const target = join(root, 'docs', 'api')

/** The purpose of each entry point of the package, in the order of the reference. */
const doors: Record<string, { file: string; says: string }> = {
  cio: { file: 'src/index', says: 'For applications.' },
  'cio/kit': { file: 'src/kit', says: 'For authors of middleware, besides `cio`.' },
  'cio/pool': { file: 'src/pool', says: 'A pool of clients over several targets.' },
  'cio/testing': { file: 'src/testing', says: 'For tests of applications and middleware.' },
}

/** A name that the package exports. */
export interface Entry {
  readonly name: string
  /** The entry points that export it: `cio`, `cio/kit`. */
  readonly from: readonly string[]
  /** The file that declares it, without its ending: `src/cio`. */
  readonly file: string
  readonly comment: string
  /** As the compiler writes it: without bodies, and without what is `@internal`. */
  readonly declaration: string
}

/** A group of pages in the sidebar of the reference. */
export interface Group {
  readonly text: string
  readonly items: readonly { readonly text: string; readonly link: string }[]
}

/** All names that the package exports, by entry point. */
export async function entries(): Promise<Entry[]> {
  const folder = await mkdtemp(join(tmpdir(), 'cio-api-'))
  try {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const options = ['-p', join(root, 'tsconfig.build.json'), '--emitDeclarationOnly']
    const run = promisify(execFile)(process.execPath, [
      tsc,
      ...options,
      '--stripInternal',
      '--declarationMap',
      'false',
      '--outDir',
      folder,
    ])
    // Type errors are reported by `npm run types`.
    await run.catch((error: { stdout?: string }) => {
      if (error.stdout === undefined) throw error
    })
    const declared = (file: string): Promise<string> =>
      readFile(join(folder, `${file}.d.ts`), 'utf8')
    const found: Entry[] = []
    for (const [door, { file }] of Object.entries(doors)) {
      found.push(...(await exported(door, file, declared)))
    }
    // A middleware that needs an optional package is imported by its path alone.
    for (const path of await readdir(join(root, 'middleware'))) {
      const file = `middleware/${basename(path, '.ts')}`
      if (!path.endsWith('.ts') || found.some((entry) => entry.file === file)) continue
      found.push(...(await exported(`cio/${basename(file)}`, file, declared)))
    }
    return merged(found)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** The exports of a file: its own declarations, and what it passes on. */
async function exported(
  door: string,
  file: string,
  declared: (file: string) => Promise<string>,
): Promise<Entry[]> {
  const text = await declared(file)
  const own = [...text.matchAll(declarations)].map(([, name = '']) => ({ names: [name], file }))
  const passedOn = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, names = '']) =>
    namesIn(names),
  )
  const all = [...own, ...exportsOf(text, dirname(file))].flatMap(({ names, file: from }) =>
    names
      .filter((name) => from === file || passedOn.includes(name))
      .map(async (name) => follow(name, from, await declared(from), declared)),
  )
  const found = await Promise.all(all)
  return found.flatMap((entry) => (entry === undefined ? [] : [{ ...entry, from: [door] }]))
}

/** One entry for each name of a file, with all entry points that export it. */
function merged(all: readonly Entry[]): Entry[] {
  const found = new Map<string, Entry>()
  for (const entry of all) {
    const key = `${entry.file} ${entry.name}`
    const from = new Set([...(found.get(key)?.from ?? []), ...entry.from])
    found.set(key, { ...entry, from: [...from] })
  }
  return [...found.values()]
}

/** A name where it is declared, or `undefined` if it is `@internal`. */
async function follow(
  name: string,
  file: string,
  text: string,
  declared: (file: string) => Promise<string>,
): Promise<Omit<Entry, 'from'> | undefined> {
  for (const { names, file: from } of exportsOf(text, dirname(file))) {
    if (names.includes(name)) return follow(name, from, await declared(from), declared)
  }
  const declaration = declarationOf(name, text)
  if (declaration === undefined) return undefined
  const first = declaration.split('\n')[0]!
  const before = text.slice(0, text.indexOf(declaration))
  const comment = /\*\/\s*$/.test(before) ? docComment(text, first) : ''
  return { name, file, comment, declaration }
}

const declarations =
  /^export (?:declare )?(?:abstract )?(?:class|function|interface|type|const) (\w+)/gm

/** What is passed on, by `export … from`, or by an import and an export. */
function exportsOf(text: string, folder = 'src'): { names: string[]; file: string }[] {
  const passed = text.matchAll(/^(?:ex|im)port (?:type )?\{([^}]*)\} from '(\.[^']+)\.[jt]s'/gm)
  return [...passed].map(([, names = '', from = '']) => {
    return { names: namesIn(names), file: join(folder, from) }
  })
}

function namesIn(list: string): string[] {
  const each = list.split(',').map((name) => name.replace(/\btype /, '').trim())
  return each.filter((name) => name !== '')
}

/** A declaration, to its end; all of them, where a function has several. */
function declarationOf(name: string, text: string): string | undefined {
  const start = new RegExp(
    `^export (?:declare )?(?:abstract )?(?:class|function|interface|type|const) ${name}\\b`,
    'gm',
  )
  const [first, ...others] = [...text.matchAll(start)].map(({ index }) =>
    text.slice(index, endOf(text, index)),
  )
  if (first === undefined) return undefined
  return [first, ...others].join('\n')
}

/** After the brace or the semicolon that ends what begins here. */
function endOf(text: string, start: number): number {
  if (/^export (?:declare )?(?:abstract )?(?:class|interface) /.test(text.slice(start))) {
    // Its type parameters may have braces too, but none at the beginning of a line.
    return text.indexOf('\n}', start) + '\n}'.length
  }
  const tokens = /\/\*[^]*?\*\/|\/\/.*|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[{}();]/g
  tokens.lastIndex = start
  let depth = 0
  for (let token = tokens.exec(text); token; token = tokens.exec(text)) {
    if (/^[{(]$/.test(token[0])) depth += 1
    if (/^[})]$/.test(token[0])) depth -= 1
    if (depth === 0 && token[0] === ';') return tokens.lastIndex
  }
  throw new Error(`no end of ${text.slice(start, start + 80)}`)
}

/** The pages, by their names. */
export function pagesOf(all: readonly Entry[]): Map<string, string> {
  const pages = new Map<string, string>()
  for (const file of new Set(all.map((entry) => entry.file))) {
    const own = all.filter((entry) => entry.file === file)
    pages.set(pageOf(file), [`# API: ${leading(own)}`, ...own.map(section)].join('\n\n') + '\n')
  }
  const intro = 'Every name that the package exports, from its doc comments.'
  const tables = Object.entries(byDoor(all)).map(([door, own]) => {
    const rows = own.map(({ name, file, comment }) => {
      const link = `${pageOf(file)}.md#${name.toLowerCase()}`
      return `| [\`${name}\`](${link}) | ${cell(summaryOf(prose(comment)))} |`
    })
    const says = doors[door]?.says ?? 'By their own paths, each with an optional package.'
    return [`## ${door}`, '', says, '', '| name | what it is |', '| --- | --- |', ...rows].join(
      '\n',
    )
  })
  pages.set('index', ['# API reference', intro, ...tables, ''].join('\n\n'))
  return pages
}

/** The pages in the order of the sidebar: `Cio` is first. */
export function sidebarOf(all: readonly Entry[]): Group[] {
  const groups = new Map<string, { text: string; link: string }[]>()
  for (const door of [...Object.keys(doors), 'middleware']) groups.set(door, [])
  for (const file of new Set(all.map((entry) => entry.file))) {
    const own = all.filter((entry) => entry.file === file)
    const door = Object.keys(doors).find((one) => own.some(({ from }) => from.includes(one)))
    const group = file.startsWith('middleware/') ? 'middleware' : door!
    groups.get(group)!.push({ text: leading(own), link: `/api/${pageOf(file)}` })
  }
  return [...groups].map(([text, items]) => ({
    text,
    items: items.toSorted((a, b) => before(a.text, b.text)),
  }))
}

/** The names of each entry point, and those of paths of their own. */
function byDoor(all: readonly Entry[]): Record<string, Entry[]> {
  const named = Object.keys(doors).map((door) => [
    door,
    all.filter(({ from }) => from.includes(door)),
  ])
  const others = all.filter(({ from }) => !from.some((door) => door in doors))
  const tables = [...named, ['cio/<middleware>', others]] as [string, Entry[]][]
  return Object.fromEntries(
    tables.map(([door, own]) => [
      door.replace('<', '&lt;'),
      own.toSorted((a, b) => before(a.name, b.name)),
    ]),
  )
}

/** The name that a reader looks for: the class or function of the file, if it has one. */
function leading(own: readonly Entry[]): string {
  const factory = own.find(({ name, file }) => isFactory(name, file))
  const value = own.find(({ declaration }) => !/^export (?:interface|type) /.test(declaration))
  return (factory ?? value ?? own[0]!).name
}

function before(a: string, b: string): number {
  if (a === b) return 0
  if (a === 'Cio') return -1
  return b === 'Cio' ? 1 : a.localeCompare(b)
}

function section({ name, from, file, comment, declaration }: Entry): string {
  const [words = '', ...tagged] = comment.split(/^@(?=\w)/m)
  const tags = tagged.map((part) => {
    const [, tag = '', says = ''] = /^(\w+)\s*([^]*)$/.exec(part) ?? []
    const text = says.trim()
    return tag === 'example' ? `\`\`\`ts\n${text}\n\`\`\`` : `**${tag}** ${escapeTags(text)}`
  })
  const page = dirname(file) === 'middleware' && isFactory(name, file)
  return [
    `## ${name}`,
    ...(page ? [`[Its page](../middleware/${basename(file)}.md)`] : []),
    ...(words.trim() === '' ? [] : [escapeTags(words.trim())]),
    `\`\`\`ts\n${shorten(declaration)}\n\`\`\``,
    `**from** ${from.map((door) => `\`${door}\``).join(', ')}`,
    ...tags,
  ].join('\n\n')
}

function isFactory(name: string, file: string): boolean {
  return basename(file).replaceAll('-', '') === name.toLowerCase()
}

/** Without the private members of the class. */
function shorten(declaration: string): string {
  return declaration
    .replace(/^export (?:declare )?/, '')
    .replace(/^ +(?:#private|private [^;]*|protected [^;]*);\n/gm, '')
    .replace(/^( +)(?=\S)/gm, (indent) => ' '.repeat(Math.ceil(indent.length / 2)))
}

/** A type's brackets would be tags in a page. */
function escapeTags(text: string): string {
  return text
    .split(/(`[^`]*`)/)
    .map((part) => (part.startsWith('`') ? part : part.replaceAll('<', '&lt;')))
    .join('')
}

/** The pages of the examples, by their names: the list, and each program with its own comment. */
async function examples(): Promise<Map<string, string>> {
  const pages = new Map<string, string>()
  const list = await readFile(join(root, 'examples', 'README.md'), 'utf8')
  pages.set(
    'index',
    list.replaceAll(/\]\(([\w-]+)\.ts\)/g, (_, name: string) => `](${name}.md)`),
  )
  for (const path of await readdir(join(root, 'examples'))) {
    if (!path.endsWith('.ts')) continue
    const source = await readFile(join(root, 'examples', path), 'utf8')
    const [program, ...comment] = /^(?:\/\/.*\n)+/
      .exec(source)?.[0]
      .replaceAll(/^\/\/ ?/gm, '')
      .trim()
      .split('\n') ?? ['']
    pages.set(
      basename(path, '.ts'),
      [
        `# ${path}`,
        escapeTags(comment.join('\n').trim()),
        `\`\`\`sh\n${program}\n\`\`\``,
        `\`\`\`ts\n${source.replace(/^(?:\/\/.*\n)+\n/, '').trim()}\n\`\`\``,
        '[All examples](index.md)\n',
      ].join('\n\n'),
    )
  }
  return pages
}

function prose(comment: string): string {
  return comment.split(/^@(?=\w)/m)[0] ?? ''
}

function pageOf(file: string): string {
  return file.replaceAll('/', '-')
}

function cell(text: string): string {
  return escapeTags(text).replaceAll('|', '\\|')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await rm(target, { recursive: true, force: true })
  await mkdir(join(target, 'examples'), { recursive: true })
  const all = await entries()
  for (const [name, text] of pagesOf(all)) await writeFile(join(target, `${name}.md`), text)
  for (const [name, text] of await examples()) {
    await writeFile(join(target, 'examples', `${name}.md`), text)
  }
  await writeFile(join(target, 'sidebar.json'), JSON.stringify(sidebarOf(all)))
}
