import test from 'ava'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import manifest from '../package.json' with { type: 'json' }

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

/** Kilobytes of the tarball; a source file adds about 5, with its build and its maps. */
const packedBound = 540

/** One program in three languages: an echo over the installed package. */
const program = `
const app = new Cio().useConnection(async ({ stream }, next) => {
  stream.pipe(stream)
  await next()
})
const server = await app.listen({ port: 0, host: '127.0.0.1' })
const client = await app.connect({ port: server.port, host: '127.0.0.1' })
client.stream.end('hello')
let heard = ''
for await (const chunk of client) heard += chunk
await app.close()
console.log(heard, typeof allowList(['alice']))
`

let project = ''
let tarball = ''

test.before('packs what a publisher would, and installs it into an empty project', async () => {
  // A copy: building in place would pull `dist` from under others.
  const copy = await mkdtemp(join(tmpdir(), 'cio-pack-'))
  for (const path of [
    ...manifest.files.filter((path) => path !== 'dist' && path[0] !== '!'),
    'cli',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'README.md',
    'LICENSE',
  ]) {
    await cp(join(root, path), join(copy, path), { recursive: true })
  }
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  await run('npm', ['pack', '--silent', '--pack-destination', copy], { cwd: copy })
  const [file = ''] = (await readdir(copy)).filter((name) => name.endsWith('.tgz'))
  tarball = join(copy, file)

  project = await mkdtemp(join(tmpdir(), 'cio-user-'))
  await writeFile(join(project, 'package.json'), '{ "private": true }')
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball], {
    cwd: project,
  })
})

test.after.always(async () => {
  for (const path of [project, join(tarball, '..')]) {
    if (path.startsWith(tmpdir())) await rm(path, { recursive: true })
  }
})

test('an ESM program imports the package and a middleware by its own path', async (t) => {
  const text = `import { Cio } from 'cio'\nimport { allowList } from 'cio/allow-list'\n${program}`
  t.is(await runs('user.mjs', text), 'hello function\n')
})

test('a middleware is given by its path, as a string', async (t) => {
  const text = `
import { Cio } from 'cio'
import { testApp } from 'cio/testing'
const app = new Cio().useServer('cio/relisten').useConnection('cio/lines')
app.useConnection((ctx) => ctx.messages.each((line) => ctx.messages.send(line.toUpperCase())))
const run = await testApp(app)
run.client.stream.end('hello')
for await (const chunk of run.client) console.log(String(chunk).trim())
await run.close()`
  t.is(await runs('by-path.mjs', text), 'HELLO\n')
})

test('a CommonJS program requires the package and a middleware by its own path', async (t) => {
  const text = `const { Cio } = require('cio')\nconst { allowList } = require('cio/allow-list')
void (async () => {${program}})()`
  t.is(await runs('user.cjs', text), 'hello function\n')
})

test('a strict TypeScript program compiles against the package', async (t) => {
  const text = `
import { Cio, type Peer, allowList, json } from 'cio'
import { relisten } from 'cio/relisten'

const app = new Cio()
  .useServer(relisten({ retries: 1 }))
  .useConnection(allowList(['alice']))
  .useConnection(json<{ id: number }>())
  .useConnection(async (ctx) => {
    const peer: Peer | null = ctx.peer
    for await (const { id } of ctx.messages) await ctx.messages.send([id + 1, peer?.name])
  })
app.on('relisten', ({ retry }) => retry.toFixed())
// @ts-expect-error nothing has added messages here
new Cio().useConnection((ctx) => ctx.messages)
export { app }
`
  await writeFile(join(project, 'user.mts'), text)
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        target: 'es2023',
        lib: ['es2023', 'esnext.disposable'],
        module: 'nodenext',
        // As every TypeScript program on Node has them.
        types: ['node'],
        typeRoots: [join(root, 'node_modules', '@types')],
        noEmit: true,
      },
      files: ['user.mts'],
    }),
  )
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const { stdout } = await run(process.execPath, [tsc, '-p', project]).catch(
    (error: { stdout: string }) => error,
  )
  t.is(stdout, '')
})

test('the package brings its command', async (t) => {
  const { stdout } = await run('npx', ['--no-install', 'cio', '--version'], { cwd: project })
  t.is(stdout, `${manifest.version}\n`)
})

test('the package brings two dependencies of its own, and no more', async (t) => {
  t.deepEqual(Object.keys(manifest.dependencies).toSorted(), ['debug', 'koa-compose'])
  const { stdout } = await run('npm', ['ls', '--all', '--parseable'], { cwd: project })
  const installed = stdout.split('\n').map((path) => path.slice(path.lastIndexOf('/') + 1))
  // `ms` is what `debug` needs.
  t.deepEqual(installed.filter((name) => !name.startsWith('cio-user-') && name !== '').toSorted(), [
    'cio',
    'debug',
    'koa-compose',
    'ms',
  ])
})

test('the tarball holds the build, its sources, and nothing else', async (t) => {
  const { stdout } = await run('tar', ['tzf', tarball])
  const files = stdout
    .trim()
    .split('\n')
    .map((path) => path.replace('package/', ''))
  const allowed =
    /^(package\.json|README\.md|LICENSE|(dist\/)?(src|middleware)\/[\w/-]+\.ts|dist\/cli\/\w+\.js|dist\/(src|middleware)\/[\w/-]+\.(js|js\.map|d\.ts|d\.ts\.map))$/
  t.deepEqual(
    files.filter((file) => !allowed.test(file)),
    [],
  )
  for (const source of files.filter((file) => /^(src|middleware)\//.test(file))) {
    for (const ending of ['.js', '.js.map', '.d.ts', '.d.ts.map']) {
      t.true(files.includes(`dist/${source.replace(/\.ts$/, ending)}`), source)
    }
  }
})

test('the tarball stays small', async (t) => {
  const { size } = await stat(tarball)
  t.true(size < packedBound * 1024, `${Math.round(size / 1024)} KiB`)
})

async function runs(file: string, text: string): Promise<string> {
  await writeFile(join(project, file), text)
  const { stdout } = await run(process.execPath, [file], { cwd: project })
  return stdout
}
