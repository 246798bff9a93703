import test from 'ava'
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { callSite } from '../../src/pipeline/call-site.ts'
import { built, flags } from '../support/typescript.ts'

const run = promisify(execFile)
const here = fileURLToPath(import.meta.url).slice(process.cwd().length + 1)

/** As `useConnection` does it. */
function method(): string {
  return callSite()
}

test('the call site is the file and line that called the method, relative to the directory', (t) => {
  const [, file, line] = /^(.*):(\d+)$/.exec(method()) ?? []
  t.is(file, here)
  const [, next] = /:(\d+)$/.exec(method()) ?? []
  t.is(Number(next), Number(line) + 2)
})

test('the call site is found in async functions, arrows, constructors and callbacks', async (t) => {
  const sites = [
    await (async () => {
      await Promise.resolve()
      return method()
    })(),
    (() => method())(),
    new (class {
      site = method()
    })().site,
    [1].map(() => method())[0],
    await new Promise<string>((resolve) => setImmediate(() => resolve(method()))),
  ]
  for (const site of sites) t.regex(site!, new RegExp(`^${here}:\\d+$`))
})

test('the call site is unknown where traces are switched off, and nothing fails', (t) => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  try {
    t.is(method(), 'unknown')
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
})

// Node prints a CommonJS file as a path and an ES module as a URL.
for (const [kind, file, program] of [
  ['a CommonJS file', 'a (first) app.cjs', 'import($callSite).then(({ callSite }) => { $use })'],
  ['an ES module', 'a (first) äpp.mjs', 'const { callSite } = await import($callSite); $use'],
] as const) {
  test(`the call site is right in ${kind} whose name has spaces and brackets`, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'cio (call) site-'))
    t.teardown(() => rm(directory, { recursive: true }))
    const url = JSON.stringify(built(new URL('../../src/pipeline/call-site.ts', import.meta.url)))
    const use = `const method = () => callSite()
      console.log(method())
      const named = function named() { console.log(method()) }
      named()`
    const path = join(directory, file)
    await writeFile(path, program.replace('$callSite', url).replace('$use', use))
    const { stdout } = await run(process.execPath, [...flags, path])
    const expected = join(directory, file)
    for (const site of stdout.trim().split('\n')) {
      t.regex(site, /:\d+$/)
      t.is(resolve(site.replace(/:\d+$/, '')), expected)
    }
  })
}
