/**
 * Every code block of the documentation is compiled, and every whole program among them is run.
 *
 * - ```` ```ts ````: a whole program. It is run to the end of its module, in a folder that has
 *   certificates, and must not fail; a port that it names is replaced by a free one.
 * - ```` ```ts fragment ````: compiled alone, with `app`, `ctx`, `next`, `server` and the names
 *   of the package there as far as it does not declare them itself.
 * - `@example` of a doc comment: a whole program.
 *
 * Other fences (`sh`, `text`, `js` of cio 0.5) are for readers.
 */

import test from 'ava'
import { execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as cio from '../src/index.ts'
import * as kit from '../src/kit.ts'
import { emitDeclarations } from '../scripts/declarations.ts'
import { path as certificate } from './support/certificates.ts'
import { typescript } from './support/typescript.ts'

interface Block {
  readonly source: string
  readonly line: number
  readonly code: string
  readonly fragment: boolean
}

const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
// Within the repository, where the packages are found. Not in node_modules, which tsx leaves alone.
const folder = join(root, 'build', `blocks-${process.pid}`)
// Milliseconds for one program.
const longest = 60_000
const longestOfAll = 110_000
const mostWorkers = 4

const pages = await find('.', '.md')
const blocks = [
  ...(await Promise.all(pages.map(async (page) => fromPage(page, await text(page))))).flat(),
  ...(
    await Promise.all((await sources()).map(async (file) => fromSource(file, await text(file))))
  ).flat(),
]
const programs = blocks.filter(({ fragment }) => !fragment)

test.before('writes the blocks down', async () => {
  mkdirSync(folder, { recursive: true })
  await emitDeclarations(join(folder, 'declarations'))
  for (const block of blocks) {
    // As many lines above it as in its page, so that errors name the right one.
    const above = block.fragment ? prelude(block.code) : ''
    writeFileSync(
      join(folder, fileOf(block)),
      `${above}${'\n'.repeat(block.line)}${block.code}\nexport {}\n`,
    )
  }
  mkdirSync(join(folder, 'examples'))
  cpSync(join(root, 'examples', 'proto'), join(folder, 'examples', 'proto'), { recursive: true })
  for (const [name, code] of await examples()) {
    writeFileSync(join(folder, 'examples', name), ofAnApplication(code))
  }
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.json',
      compilerOptions: {
        rootDir: '../..',
        isolatedDeclarations: false,
        declaration: false,
        paths: {
          '@cio/*': ['../../packages/*/src/index.ts'],
          '@cio/cluster/*': ['../../packages/cluster/src/*.ts'],
          // What the package publishes, without the members that are internal.
          cio: ['./declarations/src/index.d.ts'],
          'cio/*': ['./declarations/src/*.d.ts', './declarations/middleware/*.d.ts'],
        },
      },
      include: ['*.ts', 'examples/*.ts'],
    }),
  )
  for (const [name, from] of [
    ['ca.crt', 'root.crt'],
    ...['server', 'alice', 'mallory'].flatMap((name) =>
      ['key', 'crt'].map((ending) => [`${name}.${ending}`, `${name}.${ending}`] as const),
    ),
  ] as const) {
    copyFileSync(certificate(from), join(folder, name))
  }
  writeFileSync(join(folder, 'to-the-end.mjs'), toTheEnd)
})

test.after.always(() => rmSync(folder, { recursive: true, force: true }))

/**
 * Runs modules to their ends, one after the other, and lets what they left open go. Any port will
 * do. Tells which failed, and how.
 */
const toTheEnd = `
import { Server } from 'node:net'
import { setImmediate } from 'node:timers/promises'

const { listen } = Server.prototype
Server.prototype.listen = function (options, ...rest) {
  return listen.call(this, options?.port ? { ...options, port: 0 } : options, ...rest)
}

const failures = {}
let current
process.on('disconnect', () => process.exit(1))
process.on('uncaughtException', (error) => (failures[current] ??= error.stack))
for (current of process.argv.slice(2)) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it did not come to its end')), ${longest})
  })
  await Promise.race([import('./' + current), late]).catch((error) => {
    failures[current] ??= error.stack
  })
  clearTimeout(timer)
  // What it has left to reject does so now.
  await setImmediate()
}
process.send(failures, () => process.exit())
`

test('every block of code in the documentation, and every example, compiles against what is published', async (t) => {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const result = await run(process.execPath, [tsc, '-p', folder, '--pretty', 'false']).catch(
    (error: { stdout: string }) => error,
  )
  // What is wrong in packages/ is told by tsc itself.
  const ours = result.stdout.split('\n').filter((line) => line.includes(`blocks-${process.pid}`))
  const told = ours
    .join('\n')
    .replace(
      /^.*?blocks-\d+\/([^(\n]+)\((\d+)/gm,
      (_, file: string, line: string) => `${nameOf(file)}(${line}`,
    )
  t.is(told, '')
})

let failures: Promise<Record<string, string>> | undefined

for (const program of programs) {
  test(`${program.source}:${program.line} runs to its end`, async (t) => {
    failures ??= runAll(programs.map(fileOf))
    t.is((await failures)[fileOf(program)], undefined)
  })
}

test('every relative link in the documentation leads somewhere', async (t) => {
  for (const page of pages) {
    const content = (await text(page)).replace(/```[^]*?```/g, '')
    for (const [, target = ''] of content.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : join(dirname(page), path)
      t.true(existsSync(join(root, file)), `${page}: ${target}`)
      if (anchor !== undefined) {
        t.true(anchors(await text(file)).includes(anchor), `${page}: ${target}`)
      }
    }
  }
})

test('every page of the documentation is on its map, which is the list of the site too', async (t) => {
  const map = await text('docs/README.md')
  // The map itself, and the home page of the site.
  const roots = ['docs/README.md', 'docs/index.md']
  for (const page of pages.filter((one) => one.startsWith('docs/') && !roots.includes(one))) {
    t.true(map.includes(`](${relative('docs', page)})`), page)
  }
})

/** Runs programs in a few processes: one for each would take ten times as long. */
async function runAll(files: readonly string[]): Promise<Record<string, string>> {
  const workers = Math.min(availableParallelism(), mostWorkers)
  const shares = Array.from({ length: workers }, (_, worker) =>
    files.filter((_, index) => index % workers === worker),
  )
  const results = await Promise.all(
    shares.map(async (share) => {
      const child = fork(join(folder, 'to-the-end.mjs'), share, {
        cwd: folder,
        execArgv: ['--import', typescript],
        env: { ...process.env, TSX_TSCONFIG_PATH: join(root, 'tsconfig.json') },
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        timeout: longestOfAll,
      })
      const exit = once(child, 'exit')
      const [told] = (await Promise.race([once(child, 'message'), exit])) as [unknown]
      if (typeof told !== 'object') throw new Error(`one of these ended it: ${share.join(', ')}`)
      await exit
      return told
    }),
  )
  return Object.assign({}, ...results) as Record<string, string>
}

/** Declares what a fragment uses and does not declare. */
function prelude(code: string): string {
  const declared = new Set(
    [...code.matchAll(/(?:const|let|function|class|interface|type|,|\{)\s+(?:\{ )?(\w+)/g)].map(
      ([, name]) => name,
    ),
  )
  const imported = [...code.matchAll(/import (?:type )?\{([^}]*)\}/g)].flatMap(([, names = '']) =>
    names.split(',').map((name) => name.replace(/^\s*type /, '').trim()),
  )
  const missing = (name: string): boolean =>
    new RegExp(`(?<![\\w.'/])${name}\\b(?!:)`).test(code) &&
    !imported.includes(name) &&
    !declared.has(name)
  const types = ['Middleware', 'StreamContext', 'ServerContext', 'Next']
  const given = {
    app: 'import("cio").Cio',
    ctx: 'import("cio").ConnectionContext',
    next: 'import("cio").Next',
    server: 'import("cio").ServerContext',
    open: '() => Promise<{ close(): Promise<void> }>',
  }
  return [
    `import { ${Object.keys(cio).filter(missing).join(', ')} } from 'cio';`,
    `import { ${Object.keys(kit).filter(missing).join(', ')} } from 'cio/kit';`,
    `import type { ${types.filter(missing).join(', ')} } from 'cio';`,
    ...Object.entries(given)
      .filter(([name]) => missing(name))
      .map(([name, type]) => `declare const ${name}: ${type};`),
  ].join(' ')
}

function fromPage(source: string, content: string): Block[] {
  return [...content.matchAll(/^```ts( fragment)?\n([^]*?)^```/gm)].map((match) => {
    const line = content.slice(0, match.index).split('\n').length
    return { source, line, code: match[2]!, fragment: match[1] !== undefined }
  })
}

function fromSource(source: string, content: string): Block[] {
  return [...content.matchAll(/^( *)\* @example\n([^]*?)(?=^ *\*\/|^ *\* @)/gm)].map((match) => {
    const line = content.slice(0, match.index).split('\n').length
    return { source, line, code: match[2]!.replace(/^ *\* ?/gm, ''), fragment: false }
  })
}

function fileOf({ source, line }: Block): string {
  return `${source.replaceAll('/', '__')}.${line}.ts`
}

function nameOf(file: string): string {
  return file.replaceAll('__', '/').replace(/\.\d+\.ts$/, '')
}

/** The examples by file, without those that need packages that only their own test installs. */
async function examples(): Promise<[name: string, code: string][]> {
  const names = (await readdir(join(root, 'examples'))).filter((name) => name.endsWith('.ts'))
  const compiled = names.filter((name) => name !== 'fleet.ts' && name !== 'mqtt-broker.ts')
  return Promise.all(
    compiled.map(async (name): Promise<[string, string]> => [name, await text(`examples/${name}`)]),
  )
}

/** An example as an application has it: it imports packages, and not files of this repository. */
function ofAnApplication(code: string): string {
  return code
    .replace(/'\.\.\/packages\/(\w+)\/src\/index\.ts'/g, "'@cio/$1'")
    .replace("'../src/index.ts'", "'cio'")
    .replace(/'\.\.\/(?:src|middleware)\/([\w-]+)\.ts'/g, "'cio/$1'")
}

async function text(path: string): Promise<string> {
  return readFile(join(root, path), 'utf8')
}

async function sources(): Promise<string[]> {
  const all = await Promise.all(
    ['src', 'middleware', 'packages/cluster/src'].map((folder) => find(folder, '.ts')),
  )
  // Its examples need packages that are installed for its tests alone.
  return all.flat().filter((path) => path !== 'packages/cluster/src/nats.ts')
}

async function find(under: string, ending: string): Promise<string[]> {
  const entries = await readdir(join(root, under), { withFileTypes: true })
  const found = await Promise.all(
    entries.map(async (entry) => {
      const path = relative('.', join(under, entry.name))
      if (/^(node_modules|dist|build|templates|api|\.git)$/.test(entry.name)) return []
      if (entry.isDirectory()) return find(path, ending)
      return entry.name.endsWith(ending) && !entry.name.startsWith('.') ? [path] : []
    }),
  )
  return found.flat()
}

/** The anchors of a page's headings, as GitHub makes them. */
function anchors(content: string): string[] {
  return [...content.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )
}
