import test from 'ava'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { importMiddleware } from '../../src/pipeline/import-middleware.ts'
import { built, flags } from '../support/typescript.ts'

const run = promisify(execFile)
const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url))

for (const [title, file, name] of [
  ['an ES module', 'esm.mjs', 'esm'],
  ['a CommonJS module', 'common.cjs', 'common'],
  ['CommonJS that was transpiled from an ES module', 'transpiled.cjs', 'transpiled'],
  ['a factory', 'factory.mjs', 'made'],
  ['an asynchronous factory', 'async-factory.mjs', 'awaited'],
  ['an async handler of one parameter', 'handler.mjs', 'handler'],
  ['a middleware of one parameter with hints', 'hinted.mjs', 'hinted'],
] as const) {
  test(`${title} is loaded as a middleware`, async (t) => {
    t.is((await importMiddleware(fixture(file))).name, name)
  })
}

test('a path is relative to the working directory', async (t) => {
  const path = `./${relative(process.cwd(), fixture('esm.mjs'))}`
  t.is(await importMiddleware(path), await importMiddleware(fixture('esm.mjs')))
})

test('a file URL is loaded', async (t) => {
  const url = new URL('../fixtures/esm.mjs', import.meta.url).href
  t.is(await importMiddleware(url), await importMiddleware(fixture('esm.mjs')))
})

for (const [title, file] of [
  ['a module whose default export is an object', 'wrong.mjs'],
  ['a module without a default export', 'no-default.mjs'],
  ['a class', 'class.mjs'],
  ['a factory that makes no function', 'wrong-factory.mjs'],
  ['a module that throws', 'broken.mjs'],
  ['a file that is missing', 'missing.mjs'],
] as const) {
  test(`${title} is refused`, async (t) => {
    await t.throwsAsync(importMiddleware(fixture(file)), { code: 'ERR_CIO_LOAD' })
  })
}

test('a package that is missing is refused', async (t) => {
  await t.throwsAsync(importMiddleware('cio-of-nobody'), { code: 'ERR_CIO_LOAD' })
})

test('the error for a missing module is one line, and says what to do', async (t) => {
  for (const name of ['cio-of-nobody', './of-nobody.mjs']) {
    const { message } = await t.throwsAsync(importMiddleware(name))
    t.regex(message, /; install it, or correct the name$/)
    t.notRegex(message, /Require stack|\\u000a/)
  }
  const { message } = await t.throwsAsync(importMiddleware(fixture('broken.mjs')))
  t.notRegex(message, /install it/)
})

test('the error for wrong options of a factory is about the options alone', async (t) => {
  const loaded = importMiddleware(fixture('strict-factory.mjs'), { conections: 1 })
  const { message } = await t.throwsAsync(loaded)
  t.regex(message, /did you mean `connections`\?$/)
})

test('the error names the module, the directory and the cause', async (t) => {
  const missing = await t.throwsAsync(importMiddleware('cio-of-nobody'))
  t.true(missing.message.includes('`cio-of-nobody`'))
  t.true(missing.message.includes(process.cwd()))

  const broken = await t.throwsAsync(importMiddleware(fixture('broken.mjs')))
  t.is((broken.cause as Error).message, 'it broke while it was loaded')
})

test('the error tells a wrong export from a factory that makes no middleware', async (t) => {
  const wrong = await t.throwsAsync(importMiddleware(fixture('wrong.mjs')))
  t.regex(wrong.message, /an object/)
  const factory = await t.throwsAsync(importMiddleware(fixture('wrong-factory.mjs')))
  t.regex(factory.message, /"no middleware"/)
})

// Packages, from an application's directory elsewhere.

const source = 'export default function audit(ctx, next) { return next() }'
const common = 'module.exports = function audit(ctx, next) { return next() }'

/** Loads `name` in a process whose working directory has one package; prints the function's name. */
async function loadPackage(
  name: string,
  manifest: object,
  files: Record<string, string>,
  options?: object,
): Promise<string> {
  const application = await mkdtemp(join(tmpdir(), 'cio application-'))
  try {
    const directory = join(application, 'node_modules', 'cio-audit')
    await mkdir(directory, { recursive: true })
    await writeFile(
      join(directory, 'package.json'),
      JSON.stringify({ name: 'cio-audit', version: '1.0.0', ...manifest }),
    )
    for (const [file, text] of Object.entries(files)) await writeFile(join(directory, file), text)

    const program = `
      import { importMiddleware } from ${JSON.stringify(built(new URL('../../src/pipeline/import-middleware.ts', import.meta.url)))}
      process.chdir(${JSON.stringify(application)})
      console.log((await importMiddleware(${JSON.stringify(name)}, ${JSON.stringify(options)})).name)
    `
    const words = [...flags, '--input-type=module', '--eval', program]
    const { stdout } = await run(process.execPath, words)
    return stdout.trim()
  } finally {
    await rm(application, { recursive: true })
  }
}

test('a package is found from the directory of the application', async (t) => {
  const manifest = { main: 'index.cjs' }
  t.is(await loadPackage('cio-audit', manifest, { 'index.cjs': common }), 'audit')
})

test('a package with exports for import alone is loaded', async (t) => {
  const manifest = { type: 'module', exports: { '.': { import: './index.js' } } }
  t.is(await loadPackage('cio-audit', manifest, { 'index.js': source }), 'audit')
})

test('a path inside a package is loaded', async (t) => {
  const manifest = { type: 'module', exports: { './strict': { import: './strict.js' } } }
  t.is(await loadPackage('cio-audit/strict', manifest, { 'strict.js': source }), 'audit')
})

test('a path that a package does not export is refused', async (t) => {
  const manifest = { type: 'module', exports: { '.': './index.js' } }
  const error = await t.throwsAsync<Error & { stderr: string }>(
    loadPackage('cio-audit/inner', manifest, { 'index.js': source }),
  )
  t.regex(error.stderr, /ERR_CIO_LOAD/)
})

const factory = `
  export default function auth(options, more) {
    if (!options.tokens) throw new TypeError('auth: no tokens')
    const named = { [options.tokens]: (ctx, next) => next() }
    return named[options.tokens]
  }
`

test('a factory of a package gets the options, whatever number of parameters it has', async (t) => {
  const manifest = { type: 'module', exports: './index.js' }
  const files = { 'index.js': factory }
  t.is(await loadPackage('cio-audit', manifest, files, { tokens: 'made' }), 'made')
})

test('the error of a factory that refuses its options is the cause, and repeats no option', async (t) => {
  const error = await t.throwsAsync(
    importMiddleware(fixture('factory-with-options.mjs'), { secret: 's3cret' }),
    { code: 'ERR_CIO_LOAD' },
  )
  t.regex(error.message, /with its options, and threw: auth: no tokens/)
  t.notRegex(error.message, /s3cret/)
  t.true(error.cause instanceof TypeError)
})

test('a middleware that is no factory takes no options', async (t) => {
  for (const file of ['hinted.mjs', 'esm.mjs', 'handler.mjs']) {
    await t.throwsAsync(importMiddleware(fixture(file), {}), { code: 'ERR_CIO_LOAD' })
  }
})
