/** The page in a real browser. Skipped, and said so, where there is no Chromium. */

import test, { type ExecutionContext } from 'ava'
import { Cio, type ServerContext, allowList, certs, json, rpc } from 'cio'
import { duplexPair, testCertificates } from 'cio/testing'
import { existsSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { type TLSSocket, connect as connectTls } from 'node:tls'
import { type Browser, type BrowserServer, type Page, chromium } from 'playwright-core'
import { type Watch, type WatchListenOptions, watch } from '../../src/index.ts'
import { closeAfter, echoApp, ended, exchange } from '../support.ts'

const executablePath = ['chromium', 'chromium-browser', 'google-chrome']
  .map((name) => `/usr/bin/${name}`)
  .find((path) => existsSync(path))
const markup = '<img src=x onerror=alert(1)>'

/** One, if there is a Chromium. */
const browsers: { readonly browser: Browser; readonly process: BrowserServer }[] = []

test.before(async () => {
  if (executablePath === undefined) return
  const args = ['--no-sandbox', '--disable-dev-shm-usage']
  const process = await chromium.launchServer({ executablePath, args })
  browsers.push({ process, browser: await chromium.connect(process.wsEndpoint()) })
})

// Not `close()`: that waits for Chromium to end by itself, for as long as it takes.
test.after.always(() => browsers[0]?.process.kill())

interface Look {
  readonly width?: number
  readonly height?: number
  readonly scheme?: 'light' | 'dark'
}

type Open = (url: string, look?: Look) => Promise<Page>

/** A test with pages that have nothing to complain of at its end. */
function inBrowser(title: string, work: (t: ExecutionContext, open: Open) => Promise<void>): void {
  test.serial(title, async (t) => {
    const browser = browsers[0]?.browser
    if (!browser) {
      t.log('skipped: there is no Chromium (apt-get install chromium)')
      t.pass()
      return
    }
    const complaints: string[] = []
    const pages: Page[] = []
    t.teardown(() => Promise.all(pages.map((page) => page.close())))
    await work(t, async (url, look) => {
      const page = await openPage(browser, url, look, complaints)
      pages.push(page)
      return page
    })
    t.deepEqual(complaints, [])
  })
}

async function openPage(
  opened: Browser,
  url: string,
  { width = 1_400, height = 1_000, scheme = 'light' }: Look = {},
  complaints: string[],
): Promise<Page> {
  const viewport = { width, height }
  const page = await opened.newPage({ viewport, colorScheme: scheme })
  page.setDefaultTimeout(60_000)
  page.on('console', (message) => {
    // A page whose server has gone says so, and tries again.
    if (!/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/.test(message.text())) {
      complaints.push(`${message.type()}: ${message.text()}`)
    }
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('request', (request) => {
    const { origin } = new URL(url)
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:')) {
      complaints.push(`asks elsewhere: ${request.url()}`)
    }
  })
  await page.addInitScript(`
    addEventListener('securitypolicyviolation', (event) =>
      console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI))
  `)
  await page.goto(url)
  await page.locator('h1').waitFor()
  return page
}

/** Waits until an element has this text. */
async function shows(page: Page, selector: string, text: string | RegExp): Promise<void> {
  await page.locator(selector, { hasText: text }).first().waitFor()
}

async function figure(page: Page, name: string): Promise<string> {
  return (await page.locator(`[data-figure="${name}"]`).first().textContent()) ?? ''
}

/** A gateway on mutual TLS that lets in alice and the one with markup in the name. */
async function gateway(t: ExecutionContext, options?: WatchListenOptions) {
  const certificates = await testCertificates('alice', 'mallory', markup)
  const app = new Cio()
    .useServer(certs(certificates.server))
    .useConnection(allowList(['alice', markup]))
    .useConnection(async function echo({ stream }, next) {
      stream.pipe(stream)
      await next()
    })
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const admin = await watching.listen(0, options)
  t.teardown(() => admin.close({ timeout: 0 }))
  const come = (name: 'alice' | 'mallory' | typeof markup): TLSSocket => {
    const { key, cert, ca } = certificates.clients[name]
    const { port } = server
    const socket = connectTls({ port, host: '127.0.0.1', servername: 'localhost', key, cert, ca })
    socket.on('error', () => {})
    t.teardown(() => socket.destroy())
    return socket
  }
  return { app, watching, server, admin, come }
}

/** The figures of the server itself. */
function figuresOf(watching: Watch, server: ServerContext) {
  const { totals } = watching.snapshot()
  return { ...totals, open: server.connections.size }
}

inBrowser(
  'each figure is what the server counts, with live traffic, and markup stays text',
  async (t, open) => {
    const { app, watching, server, admin, come } = await gateway(t)
    const page = await open(admin.url)
    t.is(page.url(), new URL('/', admin.url).href, 'the token is not in the address')

    const alice = come('alice')
    await exchange(alice, 'x'.repeat(2_000))
    const odd = come(markup)
    await exchange(odd, 'hello')
    const end = ended(app)
    come('mallory')
    await end
    await shows(page, '[data-figure="open"]', /^2$/)
    await shows(page, '[data-figure="refused"]', /^1$/)
    const { open: opened, accepted, refused, ended: over } = figuresOf(watching, server)
    t.is(await figure(page, 'open'), String(opened))
    t.is(await figure(page, 'accepted'), String(accepted))
    t.is(await figure(page, 'refused'), String(refused))
    t.is(await figure(page, 'ended'), String(over))
    await shows(page, '[data-figure="received"]', '2.0 kB')
    await shows(page, '[data-step="echo"] [data-figure="active"]', /^2$/)
    await shows(page, '[data-step="allowList"] .ended-here', '1 not admitted')
    t.is(await page.locator('.servers li').getAttribute('data-state'), 'listening')

    // Connections: the names as text, the order by the server.
    await page.getByRole('button', { name: 'received / sent' }).click()
    await shows(page, '.connections tbody tr:first-child .peer', 'alice')
    await shows(page, '.connections tbody tr:last-child .peer', markup)
    t.is(await page.locator('img').count(), 0)
    await page.getByRole('searchbox').fill('<img')
    await shows(page, '[data-figure="matching"]', /^1$/)

    // The refusal, explained.
    await page.locator('.refused .link').first().click()
    await shows(page, 'dialog .refused-here .name', 'allowList')
    await shows(page, 'dialog .refused-here .at', /browser\.test\.ts:\d+/)
    await shows(page, 'dialog .facts', 'mallory')
    await page.getByRole('button', { name: 'Close' }).click()
    await page.locator('dialog').waitFor({ state: 'detached' })

    await page.locator('[data-reason="not_admitted"].chip').click()
    await shows(page, '.ended tbody', 'mallory')
    await shows(page, '.ended .message', /^it is not on the list$/)
    await shows(page, '.certificates', 'localhost')
    await shows(page, '.generations', '2 run on it')
    t.is(await page.locator('.plot canvas').count(), 4)
  },
)

inBrowser('a name that nothing has verified is marked wherever it stands', async (t, open) => {
  const { app, server, admin } = await gateway(t)
  const { bad } = await testCertificates('alice')
  const end = ended(app)
  const { key, cert } = bad.selfSigned
  const socket = connectTls({ port: server.port, key, cert, rejectUnauthorized: false })
  socket.on('error', () => {})
  t.teardown(() => socket.destroy())
  await end
  const page = await open(admin.url)
  await shows(page, '.refused .peer', /alice claimed$/)
  await shows(page, '.ended .peer', /alice claimed$/)
})

inBrowser('calls of rpc are counted as the server counts them', async (t, open) => {
  const odd = '<b>bold</b>'
  const app = new Cio()
    .on('error', () => {})
    .useConnection(json())
    .useConnection(
      rpc({
        methods: {
          add: ([a, b]: [number, number]) => a + b,
          [odd]: () => Promise.reject(new Error('broken')),
          wait: () => delay(150),
        },
      }),
    )
    .useClient(json())
    .useClient(rpc())
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1' })
  const admin = await watching.listen(0)
  t.teardown(() => admin.close({ timeout: 0 }))
  const page = await open(admin.url)
  const client = await app.connect({ port: server.port, host: '127.0.0.1' })
  for (let index = 0; index < 5; index++) await client.rpc.call('add', [index, 1])
  await t.throwsAsync(client.rpc.call(odd))
  await client.rpc.call('wait')
  const { methods, slowest } = watching.snapshot().calls
  const all = methods.reduce((sum, { count }) => sum + count, 0)
  t.is(all, 14, 'seven, seen by both sides')
  await shows(page, '[data-figure="calls"]', new RegExp(`^${all}$`))
  const row = page.locator('.calls tbody tr', { hasText: 'add served' })
  t.deepEqual((await row.locator('td').allTextContents()).slice(-2), ['0', '5'])
  const failed = page.locator('.calls tbody tr', { hasText: `${odd} served` })
  t.deepEqual((await failed.locator('td').allTextContents()).slice(-2), ['1', '1'])
  t.is(await page.locator('.calls b').count(), 0, 'markup stays text')
  t.is(await page.locator('.slowest tbody tr').count(), slowest.length)
  await page.locator('.slowest tbody .link').first().click()
  await shows(page, 'dialog .is-here .name', 'rpc')
})

inBrowser('a paused page stands still, and shows the present when it goes on', async (t, open) => {
  const { watching, admin, come } = await gateway(t)
  const page = await open(admin.url)
  await shows(page, '.link.live', 'live')
  await page.getByRole('button', { name: 'Pause' }).click()
  await exchange(come('alice'), 'hello')
  // Two more looks have reached the page, which showed neither.
  let looks = 0
  await new Promise<void>((resolve) => {
    const stop = watching.look(() => {
      if (++looks < 3) return
      stop()
      resolve()
    })
  })
  t.is(await figure(page, 'open'), '0')
  await page.getByRole('button', { name: 'Resume' }).click()
  await shows(page, '[data-figure="open"]', /^1$/)
})

inBrowser('it can be used by the keyboard alone', async (t, open) => {
  const { admin, come } = await gateway(t)
  await exchange(come('alice'), 'hello')
  const page = await open(admin.url)
  await shows(page, '.connections tbody', 'alice')
  const focused = (): Promise<string> =>
    page.evaluate('document.activeElement.textContent + " " + document.activeElement.className')
  const tabTo = async (wanted: RegExp): Promise<void> => {
    for (let turn = 0; turn < 60; turn++) {
      await page.keyboard.press('Tab')
      if (wanted.test(await focused())) return
    }
    t.fail(`no ${wanted} by Tab`)
  }
  await tabTo(/^Pause/)
  await tabTo(/^client/)
  await page.keyboard.press('Enter')
  await shows(page, '[role="tab"][aria-selected="true"]', 'client')
  await tabTo(/^age/)
  await page.keyboard.press('Space')
  await shows(page, 'th[aria-sort="descending"]', 'age')
  await tabTo(/^\d+ link/)
  await page.keyboard.press('Enter')
  await shows(page, 'dialog .is-here .name', 'echo')
  await page.keyboard.press('Escape')
  await page.locator('dialog').waitFor({ state: 'detached' })
  t.regex(await focused(), /^\d+ link/, 'back where it was')
})

inBrowser('nothing is cut off, wide and narrow, light and dark', async (t, open) => {
  const { admin, come, app } = await gateway(t)
  await exchange(come('alice'), 'hello')
  const end = ended(app)
  come('mallory')
  await end
  for (const width of [1_900, 1_000, 380]) {
    for (const scheme of ['light', 'dark'] as const) {
      const page = await open(admin.url, { width, scheme })
      await shows(page, '.connections tbody', 'alice')
      const wide = await page.evaluate<number>('document.documentElement.scrollWidth')
      t.true(wide <= width, `${wide} at ${width}, ${scheme}`)
      for (const panel of ['refused', 'ended']) {
        const hidden = await page.evaluate<number>(
          `(({ scrollWidth, clientWidth }) => scrollWidth - clientWidth)(document.querySelector('.${panel} .scroll'))`,
        )
        t.is(hidden, 0, `${panel} at ${width}`)
      }
      const back = await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
      t.is(back, scheme === 'dark' ? 'rgb(17, 21, 28)' : 'rgb(245, 246, 248)')
      await page.close()
    }
  }
})

inBrowser('10,000 connections are a page of 50 rows, and the figure of all', async (t, open) => {
  const app = echoApp()
  const watching = watch(app)
  closeAfter(t, app, watching)
  const server = await app.listen({ port: 0, host: '127.0.0.1', bind: false })
  for (let one = 0; one < 10_000; one++) server.accept(duplexPair()[0])
  const admin = await watching.listen(0)
  t.teardown(() => admin.close({ timeout: 0 }))
  const page = await open(admin.url)
  await shows(page, '[data-figure="open"]', '10\u202F000')
  await shows(page, '[data-step="echo"] [data-figure="active"]', '10\u202F000')
  // They come by a request of their own.
  await page.locator('.connections tbody tr').nth(49).waitFor()
  t.is(await page.locator('.connections tbody tr').count(), 50)
  await page.getByRole('button', { name: 'more' }).click()
  await shows(page, '.pages', /51 to 100/)
})

inBrowser('a server that answers slowly is asked once at a time, and shown', async (t, open) => {
  const { admin, come } = await gateway(t)
  await exchange(come('alice'), 'hello')
  const page = await open(admin.url)
  let [asked, most] = [0, 0]
  await page.route('**/connections?*', async (route) => {
    most = Math.max(most, ++asked)
    // Longer than the page waits from one question to the next.
    await delay(2_500)
    asked -= 1
    await route.continue()
  })
  await page.getByRole('searchbox').fill('ali')
  await shows(page, '[data-figure="matching"]', /^1$/)
  await page.getByRole('searchbox').fill('bob')
  await shows(page, '[data-figure="matching"]', /^0$/)
  await page.getByRole('searchbox').fill('')
  await shows(page, '.connections tbody', 'alice')
  // One for each text that was typed.
  t.true(most <= 3, `${most} at once`)
  await page.unrouteAll({ behavior: 'ignoreErrors' })
})

inBrowser('a page whose first questions fail lives by its events', async (t, open) => {
  const { admin, come } = await gateway(t)
  await exchange(come('alice'), 'hello')
  const page = await open(admin.url)
  await page.route(/snapshot|history/, (route) => route.abort('connectionrefused'))
  await page.reload()
  await shows(page, '.link.live', 'live')
  await shows(page, '[data-figure="open"]', /^1$/)
  await shows(page, '.connections tbody', 'alice')
  await page.unrouteAll({ behavior: 'ignoreErrors' })
})

inBrowser('with actions, a connection is ended from the page', async (t, open) => {
  const { admin, come, app } = await gateway(t, { actions: true })
  const alice = come('alice')
  await exchange(alice, 'hello')
  const page = await open(admin.url)
  await page.locator('.connections tbody .link').first().click()
  const end = ended(app)
  await page.getByRole('button', { name: 'Destroy' }).click()
  t.is((await end).reason, 'forced')
})

inBrowser(
  'a page that is open does not hold up the end of its server, and says that it is lost',
  async (t, open) => {
    const { app, admin, come } = await gateway(t)
    const alice = come('alice')
    await exchange(alice, 'hello')
    const page = await open(admin.url)
    await shows(page, '.link.live', 'live')
    const closed = app.close({ timeout: 60_000 })
    await shows(page, '.servers', /draining/)
    alice.end()
    await closed
    await shows(page, '.servers', 'no server listens')
    const { forced } = await admin.close({ timeout: 60_000 })
    t.is(forced, 0)
    await shows(page, '.head .link', 'lost')
  },
)
