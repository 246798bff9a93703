import test from 'ava'
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const folder = fileURLToPath(new URL('../..', import.meta.url))
const root = join(folder, '..', '..')
const most = 260_000

test('the package has what it loads: JavaScript, declarations, the page and the dashboards', async (t) => {
  // A private package is packed as any other.
  const path = [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter)
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json'], {
    cwd: folder,
    env: { ...process.env, PATH: path },
  })
  const [{ files, size }] = JSON.parse(stdout.slice(stdout.indexOf('[\n'))) as [
    { readonly files: readonly { readonly path: string }[]; readonly size: number },
  ]
  const paths = files.map((file) => file.path)
  for (const needed of [
    'dist/index.js',
    'dist/index.d.ts',
    'dist/trace.js',
    'dist/trace.d.ts',
    'dist/page/page.js',
    'dist/page/page.css',
    'dashboards/grafana.json',
    'dashboards/alerts.yml',
    'README.md',
  ]) {
    t.true(paths.includes(needed), needed)
  }
  t.true(size < most, `${size} bytes packed`)
  t.false(paths.some((one) => /^(src|test|page|scripts)\//.test(one)))
  // That one alone needs a package, which is an optional peer.
  const scripts = paths.filter((one) => /^dist\/[^/]+\.js$/.test(one) && !one.endsWith('trace.js'))
  const texts = await Promise.all(scripts.map((one) => readFile(join(folder, one), 'utf8')))
  const imported = texts.flatMap((text) => [
    ...text.matchAll(/^(?:import [^"]*|\}) from "([^."][^"]*)";$/gm),
  ])
  const others = new Set(imported.map(([, name]) => name!))
  t.true(others.has('cio') && others.has('cio/kit'))
  for (const name of others) t.regex(name, /^(node:|cio$|cio\/)/, 'no dependency but Cio')
})
