/**
 * Makes the pictures of the two READMEs, the whole page and its top, from the demo: five minutes of traffic at 1280 pixels. It needs
 * Chromium and pngquant: `npx tsx scripts/picture.ts <address of the page of npm run demo -- --watch>`.
 */

import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const whole = fileURLToPath(new URL('../page.png', import.meta.url))
const top = fileURLToPath(new URL('../pipeline.png', import.meta.url))
const topHeight = 585
const historyLength = 300_000
const [address] = process.argv.slice(2)
if (address === undefined) throw new Error('pass the address that the demo prints, with its token')

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
})
const viewport = { width: 1_280, height: 900 }
const page = await browser.newPage({ viewport, colorScheme: 'light' })
await page.goto(address)
await page.locator('h1').waitFor()
// The history begins when the page is opened.
await page.waitForTimeout(historyLength)
await page.screenshot({ path: whole, fullPage: true })
await page.screenshot({ path: top, clip: { x: 0, y: 0, width: viewport.width, height: topHeight } })
await browser.close()
for (const file of [whole, top]) {
  execFileSync('pngquant', ['--force', '--skip-if-larger', '--output', file, '64', file])
}
