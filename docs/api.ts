/**
 * Writes the API reference of the site, `docs/api/`, from the declarations that the compiler emits: one
 * page for each file of which `src/index.ts` exports something. Not kept in git: the site's build makes
 * it. `npm run docs:site`.
 */

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { docComment, summaryOf } from './pages.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const target = join(root, 'docs', 'api')

/** A name that `cio` exports. */
export interface Entry {
  readonly name: string
  /** The file that declares it, without its ending: `src/cio`. */
  readonly file: string
  readonly comment: string
  /** As the compiler writes it: without bodies. */
  readonly declaration: string
}

/** All names that `cio` exports, by file, in the order of the index. */
export async function entries(): Promise<Entry[]> {
  const folder = await mkdtemp(join(tmpdir(), 'cio-api-'))
  try {
    const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
    const options = ['-p', join(root, 'tsconfig.build.json'), '--emitDeclarationOnly']
    const run = promisify(execFile)(process.execPath, [
      tsc,
      ...options,
      '--declarationMap',
      'false',
      '--outDir',
      folder,
    ])
    // Whether it compiles is for others to say.
    await run.catch((error: { stdout?: string }) => {
      if (error.stdout === undefined) throw error
    })
    const declared = (file: string): Promise<string> =>
      readFile(join(folder, `${file}.d.ts`), 'utf8')
    const index = await readFile(join(root, 'src', 'index.ts'), 'utf8')
    const found = exportsOf(index).map(async ({ names, file }) => {
      const text = await declared(file)
      return Promise.all(names.map((name) => follow(name, file, text, declared)))
    })
    return (await Promise.all(found)).flat()
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Where a name is declared, if the file only passes it on. */
async function follow(
  name: string,
  file: string,
  text: string,
  declared: (file: string) => Promise<string>,
): Promise<Entry> {
  for (const { names, file: from } of exportsOf(text, dirname(file))) {
    if (names.includes(name)) return follow(name, from, await declared(from), declared)
  }
  const declaration = declarationOf(name, text)
  const first = declaration.split('\n')[0]!
  const before = text.slice(0, text.indexOf(declaration))
  const comment = /\*\/\s*$/.test(before) ? docComment(text, first) : ''
  return { name, file, comment, declaration }
}

/** What is passed on, by `export … from`, or by an import and an export. */
function exportsOf(text: string, folder = 'src'): { names: string[]; file: string }[] {
  const passed = text.matchAll(/^(?:ex|im)port (?:type )?\{([^}]*)\} from '(\.[^']+)\.[jt]s'/gm)
  return [...passed].map(([, names = '', from = '']) => {
    const each = names.split(',').map((name) => name.replace(/\btype /, '').trim())
    return { names: each.filter((name) => name !== ''), file: join(folder, from) }
  })
}

/** A declaration, to its end; all of them, where a function has several. */
function declarationOf(name: string, text: string): string {
  const start = new RegExp(
    `^export (?:declare )?(?:abstract )?(?:class|function|interface|type|const) ${name}\\b`,
    'gm',
  )
  const [first, ...others] = [...text.matchAll(start)].map(({ index }) =>
    text.slice(index, endOf(text, index)),
  )
  if (first === undefined) throw new Error(`no declaration of ${name}`)
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
  const files = [...new Set(all.map(({ file }) => file))]
  for (const file of files) {
    const own = all.filter((entry) => entry.file === file)
    pages.set(pageOf(file), [`# ${file}.ts`, ...own.map(section)].join('\n\n') + '\n')
  }
  const rows = all
    .toSorted((a, b) => a.name.localeCompare(b.name))
    .map(({ name, file, comment }) => {
      return `| [\`${name}\`](${pageOf(file)}.md#${name.toLowerCase()}) | ${cell(summaryOf(prose(comment)))} |`
    })
  const intro = "What `import … from 'cio'` can name, from the doc comments."
  const head = ['# API reference', '', intro, '', '| name | what it is |', '| --- | --- |']
  pages.set('index', [...head, ...rows, ''].join('\n'))
  return pages
}

function section({ name, file, comment, declaration }: Entry): string {
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
    ...tags,
  ].join('\n\n')
}

function isFactory(name: string, file: string): boolean {
  return basename(file).replaceAll('-', '') === name.toLowerCase()
}

/** Without what is nobody's but the class's own. */
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
  await mkdir(target, { recursive: true })
  for (const [name, text] of pagesOf(await entries())) {
    await writeFile(join(target, `${name}.md`), text)
  }
}
