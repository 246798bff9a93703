/**
 * Opens the built site in Chromium: every page, wide and narrow, light and dark. `npm run docs:test`.
 *
 * `CHROMIUM` names another browser than /usr/bin/chromium, `SCREENSHOTS` a folder for pictures of
 * some pages.
 */

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { type Browser, type Page, chromium } from 'playwright-core'

const site = fileURLToPath(new URL('../../build/site', import.meta.url))
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
const pictures = process.env.SCREENSHOTS

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}
const modes = [1280, 390].flatMap((width) =>
  (['light', 'dark'] as const).map((colorScheme) => ({ width, colorScheme })),
)
const pictured = ['/', '/guide/getting-started', '/errors', '/middleware/limit', '/api/src-cio']

/** The parts of a page that other pages, or a reader, depend on. */
interface Visit {
  readonly links: readonly string[]
  readonly ids: readonly string[]
  readonly emptyDefaults: readonly string[]
}

const missing = existsSync(executablePath) ? undefined : `there is no ${executablePath}`
const options = { skip: missing ?? false }
const visits = new Map<string, Visit>()
let server: Server
let browser: Browser
let origin: string

if (missing !== undefined) {
  console.warn(`The site is NOT tested: ${missing}. Install it: apt-get install chromium`)
}

before(async () => {
  if (missing !== undefined) return
  server = createServer((request, response) => {
    void serve(request.url ?? '/').then(({ status, type, body }) => {
      response.writeHead(status, { 'content-type': type }).end(body)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  browser = await chromium.launch({
    executablePath,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
})

after(async () => {
  await browser?.close()
  server?.close()
})

void test(
  'every page opens without an error and fits, wide and narrow, light and dark',
  options,
  async () => {
    assert.deepEqual(await openAll(), [])
  },
)

void test('every link leads to a page, and to a heading of it', options, () => {
  const dead: string[] = []
  for (const [page, { links }] of visits) {
    for (const link of links) {
      const { origin: to, pathname, hash } = new URL(link)
      if (to !== origin) continue
      const target = visits.get(pathname)
      const id = decodeURIComponent(hash.slice(1))
      if (target === undefined || (id !== '' && !target.ids.includes(id))) {
        dead.push(`${page}: ${pathname}${hash}`)
      }
    }
  }
  assert.ok(visits.size > 0)
  assert.deepEqual(dead, [])
})

void test('the sidebar leads to every guide and every middleware', options, () => {
  const linked = new Set(
    visits.get('/errors')?.links.map((link) => new URL(link).pathname.replace(/\.html$/, '')),
  )
  const wanted = [...visits.keys()].filter((page) => /^\/(?:guide|middleware)\/./.test(page))
  assert.ok(wanted.length > 0)
  assert.deepEqual(
    wanted.filter((page) => !linked.has(page)),
    [],
  )
})

void test('no option is shown without its default', options, () => {
  const empty = [...visits].flatMap(([page, { emptyDefaults }]) =>
    emptyDefaults.map((option) => `${page}: ${option}`),
  )
  assert.ok(visits.has('/middleware/limit'))
  assert.deepEqual(empty, [])
})

void test('every example has a page', options, async () => {
  const programs = await readdir(fileURLToPath(new URL('../../examples', import.meta.url)))
  for (const program of programs.filter((file) => file.endsWith('.ts'))) {
    assert.ok(visits.has(`/examples/${program.replace(/\.ts$/, '')}`), program)
  }
})

void test('search finds a guide before the reference', options, async () => {
  const page = await open()
  await page.goto(`${origin}/`)
  await page.waitForFunction(isMounted)
  for (const [words, first] of [
    ['connection', /^\/guide\//],
    ['reconnect', /^\/(?:guide|middleware)\//],
  ] as const) {
    await page.locator('.VPNavBarSearch button').click()
    await page.locator('.VPLocalSearchBox input').fill(words)
    const result = page.locator('.VPLocalSearchBox .result').first()
    await result.waitFor()
    assert.match((await result.getAttribute('href')) ?? '', first)
    await page.keyboard.press('Escape')
    await page.locator('.VPLocalSearchBox').waitFor({ state: 'detached' })
  }
  await page.close()
})

/** Opens every page, in each size and colour, and says what is wrong with it. */
async function openAll(): Promise<string[]> {
  const page = await open()
  let at = ''
  const found: string[] = []
  page.on('console', (message) => {
    if (/^(?:error|warning)$/.test(message.type())) found.push(`${at}: ${message.text()}`)
  })
  page.on('pageerror', (error) => found.push(`${at}: ${error.message}`))
  page.on('response', (response) => {
    if (response.status() >= 400) found.push(`${at}: ${response.status()} of ${response.url()}`)
  })
  for (const file of (await readdir(site, { recursive: true })).toSorted()) {
    if (!file.endsWith('.html') || file === '404.html') continue
    at = `/${file.replace(/(?:index)?\.html$/, '')}`
    await page.goto(`${origin}${at}`)
    await page.waitForFunction(isMounted)
    for (const { width, colorScheme } of modes) {
      await page.setViewportSize({ width, height: 900 })
      await page.emulateMedia({ colorScheme })
      await page.waitForFunction(isColoured, colorScheme)
      const { tooWide, ...visit } = await page.evaluate(look)
      if (tooWide !== '') found.push(`${at}: too wide for ${width} pixels: ${tooWide}`)
      visits.set(at, visit)
      if (pictures !== undefined && pictured.includes(at)) {
        const path = join(pictures, `${at.replaceAll('/', '-')}-${width}-${colorScheme}.png`)
        await page.screenshot({ path })
      }
    }
  }
  await page.close()
  return found
}

async function open(): Promise<Page> {
  const page = await browser.newPage()
  // esbuild, which compiles this file, calls it in functions that it compiles.
  await page.addInitScript('globalThis.__name = (value) => value')
  return page
}

/** Runs in the page: whether it has followed the colours of the system. */
function isColoured(colorScheme: string): boolean {
  return document.documentElement.classList.contains('dark') === (colorScheme === 'dark')
}

/** Runs in the page: whether Vue has taken over what the server sent. */
function isMounted(): boolean {
  return '__vue_app__' in (document.querySelector('#app') ?? {})
}

/** Runs in the page. */
function look(): Visit & { readonly tooWide: string } {
  const root = document.documentElement
  const all = <T extends Element>(selector: string): T[] => [
    ...document.querySelectorAll<T>(selector),
  ]
  // A block of code scrolls by itself; the text around it and the tables must not.
  const wide = all('body, .vp-doc table').find(
    ({ scrollWidth, clientWidth }) => scrollWidth > clientWidth,
  )
  const name = wide === undefined ? 'the page' : `${wide.tagName}: ${wide.textContent.slice(0, 80)}`
  const emptyCells = all<HTMLTableElement>('.vp-doc table').flatMap((table) => {
    const headings = [...table.querySelectorAll('th')].map((cell) => cell.textContent.trim())
    const column = headings.indexOf('default')
    if (column === -1) return []
    return [...table.tBodies]
      .flatMap(({ rows }) => [...rows])
      .filter(({ cells }) => cells[column]?.textContent.trim() === '')
      .map(({ cells }) => cells[0]?.textContent ?? '')
  })
  const emptyItems = all('.vp-doc li')
    .filter(({ textContent }) => /^[^:]*\(default:\s*\)/.test(textContent))
    .map(({ textContent }) => textContent)
  const emptyDefaults = [...emptyCells, ...emptyItems]
  return {
    links: all<HTMLAnchorElement>('a[href]').map(({ href }) => href),
    ids: all('[id]').map(({ id }) => id),
    emptyDefaults,
    tooWide: wide !== undefined || root.scrollWidth > root.clientWidth ? name : '',
  }
}

/** A file of the site, as a static host serves it: without the ending of a page. */
async function serve(url: string): Promise<{ status: number; type: string; body: Buffer }> {
  const { pathname } = new URL(url, 'http://localhost')
  const path = decodeURIComponent(pathname)
  const page = path.endsWith('/') ? `${path}index.html` : `${path}.html`
  const file = extname(path) in types ? path : page
  try {
    const body = await readFile(join(site, file))
    return { status: 200, type: types[extname(file)] ?? 'text/plain', body }
  } catch {
    return { status: 404, type: 'text/plain', body: Buffer.from('not found') }
  }
}
