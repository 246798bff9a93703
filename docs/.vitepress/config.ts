/** The site: `npm run docs:site`. What it leads to is what docs/README.md leads to. */

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type DefaultTheme, defineConfig } from 'vitepress'

const docs = fileURLToPath(new URL('..', import.meta.url))

export default defineConfig({
  title: 'Cio',
  description: 'Koa for sockets: async middleware over node:net and node:tls',
  lang: 'en',
  cleanUrls: true,
  srcExclude: ['**/.*.md'],
  rewrites: { 'README.md': 'index.md' },
  outDir: join(docs, '..', 'build', 'site'),
  cacheDir: join(docs, '..', 'build', 'vitepress'),
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Guide', link: '/guide/getting-started', activeMatch: '^/guide/' },
      { text: 'Middleware', link: '/#by-middleware', activeMatch: '^/middleware/' },
      { text: 'API', link: '/api/', activeMatch: '^/api/' },
      { text: 'Errors', link: '/errors' },
    ],
    sidebar: { '/api/': api(), '/': sidebar() },
  },
  markdown: {
    config(md) {
      // What is in the repository and not on the site is named, not linked.
      md.core.ruler.push('leaving', ({ tokens, env }) => {
        const page = (env as { relativePath?: string; path?: string }).path ?? docs
        for (const { children } of tokens) {
          let leaving = false
          for (const token of children ?? []) {
            if (token.type === 'link_open') leaving = leaves(page, token.attrGet('href') ?? '')
            if (!leaving || !token.type.startsWith('link_')) continue
            token.tag = 'span'
            token.type = token.type.replace('link', 'leaving')
            token.attrs = null
            if (token.type === 'leaving_close') leaving = false
          }
        }
      })
    },
  },
})

function leaves(page: string, href: string): boolean {
  if (/^([a-z]+:|#|\/)/.test(href)) return false
  const file = join(dirname(page), href.replace(/#.*/, ''))
  if (basename(file).startsWith('.')) return true
  return relative(docs, file).startsWith('..') || (existsSync(file) && !file.endsWith('.md'))
}

/** From the lists of docs/README.md: a heading or a family begins a group. */
function sidebar(): DefaultTheme.SidebarItem[] {
  const groups: { text: string; items: DefaultTheme.SidebarItem[]; collapsed?: boolean }[] = []
  for (const line of readFileSync(join(docs, 'README.md'), 'utf8').split('\n')) {
    const [, heading, text, link] =
      /^(?:## )?([A-Z][\w ]+)$|^(?:- | +)\[(.+?)\]\(([\w/.-]+)\.md\)/.exec(line) ?? []
    if (heading !== undefined) groups.push({ text: heading, items: [] })
    if (text === undefined || link === undefined) continue
    const decision = link.startsWith('decisions/')
    if (decision && groups.at(-1)!.text !== 'Decisions')
      groups.push({ text: 'Decisions', items: [], collapsed: true })
    groups.at(-1)!.items.push({
      text: decision ? titleOf(link) : text.replaceAll('`', ''),
      link: `/${link}`,
    })
  }
  return groups.filter(({ items }) => items.length > 0)
}

function titleOf(link: string): string {
  const [, title = link] = /^# (.+)$/m.exec(readFileSync(join(docs, `${link}.md`), 'utf8')) ?? []
  return title.replaceAll('`', '')
}

function api(): DefaultTheme.SidebarItem[] {
  const folder = join(docs, 'api')
  const pages = existsSync(folder) ? readdirSync(folder) : []
  const of = (start: string): DefaultTheme.SidebarItem[] =>
    pages
      .filter((page) => page.startsWith(start))
      .map((page) => page.slice(0, -'.md'.length))
      .map((page) => ({ text: page.slice(start.length), link: `/api/${page}` }))
  return [
    { text: 'API reference', link: '/api/' },
    { text: 'Core', items: of('src-') },
    { text: 'Middleware', items: of('middleware-') },
  ]
}
