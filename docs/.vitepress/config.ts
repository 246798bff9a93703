/** The site: `npm run docs:site`. Its pages are in the order of docs/README.md. */

import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type DefaultTheme, type MarkdownOptions, defineConfig } from 'vitepress'

type Tokens = Parameters<Parameters<MarkdownIt['core']['ruler']['push']>[1]>[0]['tokens']
type MarkdownIt = Parameters<NonNullable<MarkdownOptions['config']>>[0]

const docs = fileURLToPath(new URL('..', import.meta.url))
const examples = join(docs, '..', 'examples')

export default defineConfig({
  title: 'Cio',
  description: 'Koa for sockets: async middleware over node:net and node:tls',
  lang: 'en',
  head: [['link', { rel: 'icon', type: 'image/svg+xml', href: '/favicon.svg' }]],
  cleanUrls: true,
  srcExclude: ['**/.*.md'],
  rewrites: { 'README.md': 'documentation.md', 'api/examples/:name.md': 'examples/:name.md' },
  outDir: join(docs, '..', 'build', 'site'),
  cacheDir: join(docs, '..', 'build', 'vitepress'),
  // The index of the search is one chunk, loaded when a reader searches.
  vite: { build: { chunkSizeWarningLimit: 3_000 } },
  themeConfig: {
    search: {
      provider: 'local',
      options: {
        miniSearch: {
          searchOptions: {
            // Runs in the browser: it can use nothing from outside.
            boostDocument: (page: string) => {
              if (page.includes('/guide/')) return 2
              // A name of the lists has a page of its own, too.
              const isList = /\/(?:app-events|errors|ends)(?:\.html)?(?:#|$)/.test(page)
              return isList || /\/(?:api|examples|decisions)\//.test(page) ? 0.4 : 1
            },
          },
        },
      },
    },
    outline: [2, 3],
    nav: [
      { text: 'Guide', link: '/guide/getting-started', activeMatch: '^/guide/' },
      { text: 'Middleware', link: '/documentation#by-middleware', activeMatch: '^/middleware/' },
      { text: 'Examples', link: '/examples/', activeMatch: '^/examples/' },
      { text: 'Errors', link: '/errors' },
      { text: 'API', link: '/api/', activeMatch: '^/api/' },
    ],
    sidebar: { '/api/': api(), '/': sidebar() },
  },
  markdown: {
    // Otherwise `{ count: 1, per: 2 }` in a cell of a table becomes an attribute, and is not shown.
    attrs: { disable: true },
    // As GitHub does it, where the same links have to work.
    anchor: {
      slugify: (heading) =>
        heading
          .toLowerCase()
          .replace(/[^\p{L}\p{N}_ -]/gu, '')
          .replaceAll(' ', '-'),
    },
    config(md) {
      md.core.ruler.push('links', ({ tokens, env }) => {
        const { path = docs } = env as { path?: string }
        for (const { children } of tokens) convertLinks(path, children ?? [])
      })
      md.core.ruler.push('labels', ({ tokens, Token }) => {
        labelCells(tokens, () => Object.assign(new Token('text', '', 0), { content: 'none' }))
      })
    },
  },
})

/** Links of the repository: an example has a page; what is not on the site is named, not linked. */
function convertLinks(page: string, tokens: Tokens): void {
  let leaving = false
  for (const token of tokens) {
    if (token.type === 'link_open') {
      const href = token.attrGet('href') ?? ''
      const example = exampleOf(page, href)
      if (example !== undefined) token.attrSet('href', example)
      leaving = example === undefined && leaves(page, href)
    }
    if (!leaving || !token.type.startsWith('link_')) continue
    token.tag = 'span'
    token.type = token.type.replace('link', 'leaving')
    token.attrs = null
    if (token.type === 'leaving_close') leaving = false
  }
}

/** The page of an example that a link names. */
function exampleOf(page: string, href: string): string | undefined {
  if (/^([a-z]+:|#|\/)/.test(href)) return undefined
  const [folder, file = '', ...deeper] = relative(
    dirname(examples),
    join(dirname(page), href.replace(/#.*/, '')),
  ).split(sep)
  if (folder !== 'examples' || deeper.length > 0) return undefined
  if (/^(?:README\.md)?$/.test(file)) return '/examples/'
  return file.endsWith('.ts') ? `/examples/${basename(file, '.ts')}` : undefined
}

function leaves(page: string, href: string): boolean {
  if (/^([a-z]+:|#|\/)/.test(href)) return false
  const file = join(dirname(page), href.replace(/#.*/, ''))
  if (basename(file).startsWith('.')) return true
  return relative(docs, file).startsWith('..') || (existsSync(file) && !file.endsWith('.md'))
}

/**
 * Each cell has the heading of its column, which the style sheet shows where a screen is narrow.
 * An option without a default has `none` there.
 */
function labelCells(tokens: Tokens, none: () => Tokens[number]): void {
  let headings: string[] = []
  let column = 0
  for (const [index, token] of tokens.entries()) {
    if (token.type === 'table_open') headings = []
    if (token.type === 'tr_open') column = 0
    if (token.type === 'th_open') headings.push(tokens[index + 1]?.content ?? '')
    if (token.type !== 'td_open') continue
    const heading = headings[column++] ?? ''
    token.attrSet('data-label', heading)
    const cell = tokens[index + 1]
    if (heading === 'default' && cell?.type === 'inline' && cell.content === '') {
      cell.children = [none()]
    }
  }
}

/** From the lists of docs/README.md: a heading, or the name of a family, begins a group. */
function sidebar(): DefaultTheme.SidebarItem[] {
  const groups: { text: string; items: DefaultTheme.SidebarItem[]; collapsed?: boolean }[] = []
  const lines = readFileSync(join(docs, 'README.md'), 'utf8').split('\n')
  for (const [index, line] of lines.entries()) {
    const alone = !lines[index - 1]?.trim() && !lines[index + 1]?.trim()
    const [, heading] = (alone && /^(?:## )?([A-Z][\w ,/-]+)$/.exec(line)) || []
    if (heading !== undefined) groups.push({ text: heading, items: [] })
    for (const [, text = '', link = ''] of line.matchAll(/\[(.+?)\]\((\w[\w/.-]*)\.md\)/g)) {
      const decision = link.startsWith('decisions/')
      if (decision && groups.at(-1)!.text !== 'Decisions')
        groups.push({ text: 'Decisions', items: [], collapsed: true })
      groups.at(-1)!.items.push({
        text: decision ? titleOf(link) : text.replaceAll('`', ''),
        link: `/${link}`,
      })
    }
  }
  const decisions = groups.findIndex(({ text }) => text === 'Decisions')
  groups.splice(decisions === -1 ? groups.length : decisions, 0, {
    text: 'Examples and API',
    items: [
      { text: 'Examples', link: '/examples/' },
      { text: 'API reference', link: '/api/' },
    ],
  })
  return groups.filter(({ items }) => items.length > 0)
}

function titleOf(link: string): string {
  const [, title = link] = /^# (.+)$/m.exec(readFileSync(join(docs, `${link}.md`), 'utf8')) ?? []
  return title.replaceAll('`', '')
}

/** As docs/api.ts wrote it. */
function api(): DefaultTheme.SidebarItem[] {
  const file = join(docs, 'api', 'sidebar.json')
  const groups = existsSync(file) ? readFileSync(file, 'utf8') : '[]'
  return [
    { text: 'API reference', link: '/api/' },
    ...(JSON.parse(groups) as DefaultTheme.SidebarItem[]),
  ]
}
