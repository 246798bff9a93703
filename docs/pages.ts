/**
 * Writes the parts of the documentation that repeat doc comments: the head of each middleware's
 * page, and the tables of all middleware. `npm run docs`; test/house.test.ts fails if it was
 * forgotten.
 */

import { existsSync } from 'node:fs'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { format, resolveConfig } from 'prettier'

const root = fileURLToPath(new URL('..', import.meta.url))
const begin = '<!-- begin: written by `npm run docs` -->'
const end = '<!-- end -->'
/** On a page that has something to show before its options. */
const optionsBegin = '<!-- options: written by `npm run docs` -->'

/** In the README: some rows of the page of figures. */
const costsBegin = '<!-- costs: written by `npm run docs` from docs/performance.md -->'

/** The rows of docs/performance.md that the README has too. */
const costs = [
  'short plain connection',
  'short TLS connection, full handshake',
  'mutual TLS connection with `limit`, `timeout` and `allowList`',
  'plain echo',
  'TLS echo',
  'proxy, short connections',
  'proxy, throughput',
  'heap of an idle plain connection above bare',
  'heap of each waiting middleware, plain',
  "`import 'cio'`, processor time",
]

/** The groups of the tables. A middleware that is in none of these comes last. */
const families: Record<string, readonly string[]> = {
  'Certificates and TLS': ['certs', 'session-tickets', 'start-tls'],
  'Access control': ['allow-list', 'deny-list', 'certificate-expiry'],
  Listening: ['inherited', 'relisten', 'drain'],
  Limits: ['limit', 'timeout', 'rate-limit', 'heartbeat'],
  'Framing and codecs': [
    'lines',
    'json',
    'frames',
    'content-length',
    'msgpack',
    'cbor',
    'protobuf',
    'codec',
    'json-stream',
  ],
  Layers: ['layer', 'transform', 'multiplex'],
  'Other protocols': [
    'route',
    'http',
    'websocket',
    'forward',
    'proxy-protocol',
    'send-proxy-protocol',
  ],
  Conversations: ['events', 'rpc', 'requests', 'rooms'],
  Clients: ['reconnect', 'socks5', 'http-connect'],
  'Logs and recordings': ['log', 'record'],
}

interface Page {
  readonly file: string
  readonly name: string
  /** The first sentence, with its full stop. */
  readonly summary: string
  readonly tags: readonly { readonly tag: string; readonly says: string }[]
  readonly options: readonly Option[]
  readonly prose: string
  readonly example: string
  /** The optional packages that it needs. */
  readonly packages: readonly string[]
}

interface Option {
  readonly name: string
  readonly initial: string
  readonly says: string
}

/** The files whose generated parts differ from what they should be, with what they should be. */
export async function outdated(): Promise<Map<string, string>> {
  const sources = await Promise.all(
    (await list('src', true)).concat(await list('middleware')).map((path) => text(path)),
  )
  const all = sources.join('\n')
  const manifest = JSON.parse(await text('package.json')) as {
    readonly peerDependencies: Record<string, string>
  }
  const optional = Object.keys(manifest.peerDependencies)
  const pages = await Promise.all(
    (await list('middleware')).map(async (path) => read(path, await text(path), all, optional)),
  )
  const figures = costsTable(await text('docs/performance.md'))
  const wanted: [path: string, renew: (old: string) => string | Promise<string>, page?: Page][] = [
    [
      'README.md',
      (old) => {
        const listed = replace(old, table(pages, 'docs/middleware/'), 'README.md')
        return replace(listed, figures, 'README.md', costsBegin)
      },
    ],
    ['docs/README.md', (old) => replace(old, index(pages), 'docs/README.md')],
    ...pages.map((page): [string, (old: string) => Promise<string>, Page] => [
      pathOf(page),
      (old) => replaceHead(old, page),
      page,
    ]),
  ]
  const found = new Map<string, string>()
  for (const [path, renew, page] of wanted) {
    const old = existsSync(join(root, path)) || !page ? await text(path) : blank(page)
    const options = { ...(await resolveConfig(join(root, path))), parser: 'markdown' }
    const replaced = await renew(old)
    const fresh = await format(replaced, options)
    if (fresh !== old) found.set(path, fresh)
  }
  return found
}

/** The text of the doc comment right before something, without its stars. */
export function docComment(source: string, before: string): string {
  const at = source.indexOf(before)
  return plain(source.slice(source.lastIndexOf('/**', at), at))
}

/** The first sentence of a doc comment. */
export function summaryOf(comment: string): string {
  return oneLine(comment.split(/(?<=\.)(?:\s|$)/)[0] ?? '')
}

/** The optional members of an interface's body, each with its comment, if it has one. */
export function members(body: string): { name: string; comment: string }[] {
  const member = /(?:\/\*\*((?:(?!\*\/)[^])*)\*\/\s*)?readonly (\w+)\?:/g
  return [...body.matchAll(member)].map(([, comment = '', name = '']) => {
    return { name, comment: plain(comment) }
  })
}

function read(path: string, source: string, all: string, optional: readonly string[]): Page {
  const file = path.slice('middleware/'.length, -'.ts'.length)
  const name = file.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
  const comment = docComment(source, `export function ${name}`)
  const [words = '', ...tagged] = comment.split(/^@(?=\w)/m)
  const parts = tagged.map((part) => {
    const [, tag = '', says = ''] = /^(\w+)\s([^]*)$/.exec(part) ?? []
    return { tag, says: says.trim() }
  })
  return {
    file,
    name,
    summary: summaryOf(comment),
    tags: parts
      .filter(({ tag }) => tag !== 'example')
      .map(({ tag, says }) => ({ tag, says: oneLine(says) })),
    options: optionsOf(`${name[0]!.toUpperCase()}${name.slice(1)}Options`, all),
    prose: words.trim().split('\n\n').slice(1).join('\n\n'),
    example: parts.find(({ tag }) => tag === 'example')?.says ?? '',
    packages: optional.filter((name) => source.includes(` from '${name}'\n`)),
  }
}

/** The options of an interface and of those that it extends, or of a type that is made of some. */
function optionsOf(name: string, all: string): Option[] {
  const alias = new RegExp(`export type ${name}(?:<[^>]*>)? =([^]*?)\\n\\n`).exec(`${all}\n\n`)
  if (alias) {
    const parts = [...alias[1]!.matchAll(/\b(\w+(?:Options|Functions))\b/g)]
    const options = parts.flatMap(([, part = '']) => optionsOf(part, all))
    // A union names an option once for each of its members.
    return options.filter(
      ({ name: one }, index) => options.findIndex((o) => o.name === one) === index,
    )
  }
  // An option's default may have braces of its own.
  const found = new RegExp(`interface ${name}\\b([^{]*)\\{(?:\\}|([^]*?)\\n\\})\\n`).exec(
    `${all}\n`,
  )
  if (!found) return []
  const [, heritage = '', body = ''] = found
  const inherited = [...heritage.matchAll(/\b(\w+Options)\b/g)].flatMap(([, parent = '']) =>
    optionsOf(parent, all),
  )
  const own = members(body).map(({ name: option, comment }) => {
    const [says = '', initial = ''] = comment.split('@default')
    const value = oneLine(initial)
    const word = /^(?!true$|false$)[a-z]+$/.test(value)
    const literal = !word && /^(?:\{.*\}|\[.*\]|[\w'"-]\S*)$/.test(value)
    const shown = value === '' ? 'none' : value
    return { name: option, says: oneLine(says), initial: literal ? `\`${value}\`` : shown }
  })
  return [...own, ...inherited]
}

function head({ name, summary, tags }: Page): string {
  const items = tags.map(
    ({ tag, says }) => `- **${tag}:** ${tag === 'rejects' ? errors(says) : says}`,
  )
  return [`# \`${name}\``, '', summary, '', ...items].join('\n')
}

/** The errors of a tag, one an item: first those of the connection, then those of a call, for example. */
function errors(says: string): string {
  const groups = says.split(/(?<=\.) (?=[A-Z][^:`]*: `ERR_)/).map((group) => {
    const [, scope, list = ''] = /^(?:([A-Z][^:`]*): (?=`ERR_))?([^]*?)\.?$/.exec(group) ?? []
    return { scope, list: list.split(/; (?=`ERR_|the codec|Node)/) }
  })
  if (groups.length === 1 && groups[0]!.list.length === 1) return says
  return groups
    .map(({ scope, list }) => {
      const margin = scope === undefined ? '  ' : '    '
      const items = list.map((item) => `\n${margin}- ${item}`).join('')
      return scope === undefined ? items : `\n  - ${scope}:${items}`
    })
    .join('')
}

function optionsList({ options }: Page): string {
  const items = options.map(
    ({ name, initial, says }) => `- **\`${name}\`** (default: ${initial}): ${says}`,
  )
  return items.length === 0 ? '' : ['## Options', '', ...items].join('\n')
}

/** The head of a page, with its options in it or at their own place. */
async function replaceHead(old: string, page: Page): Promise<string> {
  const path = pathOf(page)
  const [list, own] = [await wrapped(optionsList(page)), old.includes(optionsBegin)]
  const top = await wrapped(head(page))
  const headed = replace(old, own ? top : `${top}\n\n${list}`, path)
  return own ? replace(headed, list, path, optionsBegin) : headed
}

/** Wrapped at 100 columns, for readers in a terminal. */
function wrapped(markdown: string): Promise<string> {
  return format(markdown, { parser: 'markdown', proseWrap: 'always', printWidth: 100 })
}

function table(pages: readonly Page[], folder: string): string {
  const rows = grouped(pages).flatMap(([family, members]) => [
    `| **${family}** | | |`,
    ...members.map(({ name, file, summary, tags, packages }) => {
      const pipelines = tags.find(({ tag }) => tag === 'pipelines')?.says ?? ''
      const needs = packages.length > 0 ? ` Install \`${packages.join('`, `')}\`.` : ''
      return `| [\`${name}\`](${folder}${file}.md) | ${cell(summary)}${needs} | ${pipelines} |`
    }),
  ])
  return ['| name | what it does | pipelines |', '| --- | --- | --- |', ...rows].join('\n')
}

/** Figures of the last run of the bench, also those that miss their target. */
function costsTable(page: string): string {
  const rows = page
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) => line.split('|').map((part) => part.trim()))
  const shown = costs.map((what) => {
    const row = rows.find(([, first]) => first === what)
    if (!row) throw new Error(`docs/performance.md has no row \`${what}\``)
    const [, , beside, figure, target, result] = row
    return `| ${what} | ${beside} | ${figure} | ${target} | ${result} |`
  })
  return [
    '| what | beside | figure | target | result |',
    '| --- | --- | --- | --- | --- |',
    ...shown,
  ].join('\n')
}

function index(pages: readonly Page[]): string {
  return grouped(pages)
    .map(([family, members]) => {
      const rows = members.map(
        ({ name, file, summary }) => `- [\`${name}\`](middleware/${file}.md): ${summary}`,
      )
      return [family, '', ...rows].join('\n')
    })
    .join('\n\n')
}

function grouped(pages: readonly Page[]): [family: string, pages: readonly Page[]][] {
  const known = new Set(Object.values(families).flat())
  const others = pages.filter(({ file }) => !known.has(file)).map(({ file }) => file)
  return [...Object.entries(families), ['Others', others] as const]
    .map(([family, files]): [string, readonly Page[]] => [
      family,
      files.flatMap((file) => pages.filter((page) => page.file === file)),
    ])
    .filter(([, members]) => members.length > 0)
}

/** A page that is not there yet: what the doc comment has for a start. */
function blank({ example, prose }: Page): string {
  return `${begin}\n${end}\n\n\`\`\`ts\n${example}\n\`\`\`\n\n## When to use it\n\n${prose}\n`
}

function pathOf({ file }: Page): string {
  return `docs/middleware/${file}.md`
}

function replace(old: string, content: string, path: string, from = begin): string {
  const [before, rest] = old.split(from)
  const [, ...after] = rest?.split(end) ?? []
  if (after.length === 0) throw new Error(`${path} has no \`${from}\` and \`${end}\``)
  return `${before}${from}\n\n${content}\n\n${end}${after.join(end)}`
}

function plain(comment: string): string {
  return comment
    .replace(/^\/\*\*|\*\/\s*$/g, '')
    .replace(/^[ \t]*\* ?/gm, '')
    .replace(/\{@link (\w+)\}/g, '`$1`')
    .trim()
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim()
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}

async function list(folder: string, recursive = false): Promise<string[]> {
  const names = await readdir(join(root, folder), { recursive })
  return names.filter((name) => name.endsWith('.ts')).map((name) => `${folder}/${name}`)
}

async function text(path: string): Promise<string> {
  return readFile(join(root, path), 'utf8')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, content] of await outdated()) {
    await writeFile(join(root, path), content)
    console.log(path)
  }
}
