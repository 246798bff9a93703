import test from 'ava'
import { execFile } from 'node:child_process'
import {
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import manifest from '../package.json' with { type: 'json' }
import * as cio from '../src/index.ts'
import * as kit from '../src/kit.ts'
import * as testing from '../src/testing.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

/** Kilobytes, packed. */
const packedBound = 320

/** Older compilers that have to read the declarations; beside the one of this repository. */
const olderTypeScript = '5.7'

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
/** The same, with the packages that some middleware need. */
let projectWithPeers = ''
let tarball = ''
/** The tarballs of the packages that stand on Cio. */
const packed: string[] = []

test.before('packs what a publisher would, and installs it into an empty project', async () => {
  // A copy: building in place would pull `dist` from under others.
  const copy = await mkdtemp(join(tmpdir(), 'cio-pack-'))
  const copied = [
    'src',
    'middleware',
    'cli',
    'scripts',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'README.md',
    'LICENSE',
    'package-lock.json',
    '.ci/install.mjs',
    '.ci/packages.mjs',
  ]
  for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true })
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  await run('npm', ['pack', '--silent', '--pack-destination', copy], { cwd: copy })
  const [file = ''] = (await readdir(copy)).filter((name) => name.endsWith('.tgz'))
  tarball = join(copy, file)
  for (const name of ['watch', 'cluster']) packed.push(await packs(name, copy))

  project = await mkdtemp(join(tmpdir(), 'cio-user-'))
  await writeFile(join(project, 'package.json'), '{ "private": true }')
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball], {
    cwd: project,
  })

  projectWithPeers = await mkdtemp(join(tmpdir(), 'cio-peers-'))
  await cp(project, projectWithPeers, { recursive: true, verbatimSymlinks: true })
  for (const name of Object.keys(manifest.peerDependencies)) {
    const link = join(projectWithPeers, 'node_modules', name)
    await mkdir(dirname(link), { recursive: true })
    await symlink(join(root, 'node_modules', name), link)
  }
})

test.after.always(async () => {
  for (const path of [project, projectWithPeers, join(tarball, '..')]) {
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

for (const [how, load] of Object.entries({
  import: '(path) => import(path)',
  'require()': "(await import('node:module')).createRequire(import.meta.url)",
})) {
  test(`by whichever path, ${how} gives the same function and the same class`, async (t) => {
    const paths = await middlewarePaths()
    const text = `
const load = ${load}
const [cio, kit, testing] = [await load('cio'), await load('cio/kit'), await load('cio/testing')]
const problems = []
if (cio !== (await import('cio'))) problems.push('cio')
for (const path of ${JSON.stringify(paths)}) {
  const own = await load('cio/' + path)
  const name = path.replace(/-(.)/g, (_, letter) => letter.toUpperCase())
  if (typeof own[name] !== 'function' || own[name] !== own.default) problems.push(path)
  for (const [one, value] of Object.entries(own)) {
    if (one !== 'default' && one in cio && cio[one] !== value) problems.push(path + ': ' + one)
  }
  if (name in cio && !(name in own)) problems.push(path + ' lacks ' + name)
}
const thrownBy = (wrong) => {
  try { wrong() } catch (error) { return error }
}
const { cbor } = await load('cio/cbor')
for (const wrong of [() => testing.chaos({ seed: 'x' }), () => cbor({ maxLength: -1 }), () => cio.json({ maxLength: -1 })]) {
  if (!(thrownBy(wrong) instanceof cio.CioError)) problems.push('CioError: ' + wrong)
}
const app = new cio.Cio().useConnection(cbor()).useConnection(async (ctx) => {
  if (!(ctx.messages instanceof kit.Messages)) problems.push('Messages')
  for await (const message of ctx.messages) await ctx.messages.send(message)
})
const run = await testing.testApp(app)
run.client.stream.end()
for await (const chunk of run.client) void chunk
await run.close()
console.log(problems.join(', ') || 'the same')`
    t.is(await runs(`${how.slice(0, 6)}.mjs`, text, { cwd: projectWithPeers }), 'the same\n')
  })
}

test('an import loads none of the parts of Node that only some applications use', async (t) => {
  const text = `import 'node:tls'
import 'cio'
import 'cio/kit'
console.log(process.moduleLoadList.join())`
  const loaded = (await runs('loaded.mjs', text)).split(',')
  t.true(loaded.includes('NativeModule tls'))
  for (const name of ['child_process', 'cluster', 'dgram', 'http', 'https', 'zlib']) {
    t.false(loaded.includes(`NativeModule ${name}`), name)
  }
})

test('what is exported has the name in the build that it has in the sources', async (t) => {
  const doors = { cio, 'cio/kit': kit, 'cio/testing': testing }
  for (const [path, exported] of Object.entries(doors)) {
    const text = `const all = await import('${path}')
const names = Object.entries(all).filter(([, value]) => typeof value === 'function')
console.log(JSON.stringify(Object.fromEntries(names.map(([key, { name }]) => [key, name]))))`
    const functions = Object.entries(exported).filter(([, value]) => typeof value === 'function')
    const expected = functions.map(([key, value]) => [key, (value as { name: string }).name])
    t.deepEqual(JSON.parse(await runs('names.mjs', text)), Object.fromEntries(expected), path)
  }
})

test('a middleware is said to be registered in the file of the application', async (t) => {
  const text = `import { Cio, lines } from 'cio'
const app = new Cio()
app.useConnection(lines())
console.log(app.inspect().connection.find(({ name }) => name === 'lines').at)`
  t.is(await runs('call-site.mjs', text), 'call-site.mjs:3\n')
})

test('a stack trace leads to readable code, with the names and lines of the sources', async (t) => {
  const text = `import { lines } from 'cio'
try {
  lines({ maxLength: -1 })
} catch ({ stack }) {
  console.log(stack)
}`
  const stack = await runs('stack.mjs', text)
  const frames = [...stack.matchAll(/at (\w+) \(.*node_modules\/cio\/dist\/core\.js:(\d+)/g)]
  t.deepEqual([frames[0]?.[1], frames.at(-1)?.[1]], ['optionError', 'lines'])
  const core = await readFile(join(project, 'node_modules', 'cio', 'dist', 'core.js'), 'utf8')
  const code = core.split('\n').slice(Number(frames[0]?.[2]) - 1)
  t.regex(code[0] ?? '', /^ {2}return new CioError\(/)
  t.true(core.includes('\n// src/options.ts\n'))
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
  t.is(await compiles('user.mts', text), '')
})

test(`TypeScript ${olderTypeScript} reads all declarations, and none of it is internal`, async (t) => {
  const older = await mkdtemp(join(tmpdir(), 'cio-typescript-'))
  try {
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--prefix', older]
    await run('npm', [...install, `typescript@${olderTypeScript}`])
    const tsc = join(older, 'node_modules', 'typescript', 'bin', 'tsc')
    const imports = (await middlewarePaths()).map((path) => `import 'cio/${path}'`)
    const text = `
import { Cio } from 'cio'
import 'cio/kit'
import 'cio/testing'
${imports.join('\n')}
new Cio().useClient(async (ctx, next) => {
  // @ts-expect-error only Cio itself does that
  ctx.attach
  ctx.signal.throwIfAborted()
  await next()
})
`
    for (const compiler of [tsc, ownTsc])
      t.is(await compiles('internal.mts', text, { tsc: compiler }), '')
  } finally {
    await rm(older, { recursive: true })
  }
})

// Its cost is bounded in test/cases/types-cost.test.ts, without a clock.
test('an application with 20 middleware in one chain compiles', async (t) => {
  const steps = Array.from({ length: 18 }, (_, index) => {
    const add = `async (ctx, next) => { await provide(ctx, 'step${index}', ${index}, next) }`
    return `.useConnection(defineMiddleware<ConnectionContext, { readonly step${index}: number }>({ name: 'step${index}' }, ${add}))`
  })
  const text = `
import { Cio, type ConnectionContext, defineMiddleware, json, rpc } from 'cio'
import { provide } from 'cio/kit'
export const app = new Cio()
${steps.join('\n')}
.useConnection(json<{ id: number }>())
.useConnection(async (ctx) => {
  const sum: number = ctx.step0 + ctx.step17
  for await (const { id } of ctx.messages) await ctx.messages.send(id + sum)
})
export { rpc }
`
  t.is(await compiles('chain.mts', text), '')
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

test('the tarball holds the build and nothing else', async (t) => {
  const { stdout } = await run('tar', ['tzf', tarball])
  const files = stdout
    .trim()
    .split('\n')
    .map((path) => path.replace('package/', ''))
  const allowed =
    /^(package\.json|README\.md|LICENSE|dist\/cli\/[\w-]+\.js|dist\/[\w/-]+\.(js|d\.ts))$/
  t.deepEqual(
    files.filter((file) => !allowed.test(file)),
    [],
  )
  const paths = (await middlewarePaths()).map((path) => `middleware/${path}`)
  for (const entry of ['src/index', 'src/kit', 'src/pool', 'src/testing', ...paths]) {
    for (const ending of ['.js', '.d.ts']) {
      t.true(files.includes(`dist/${entry}${ending}`), `${entry}${ending}`)
    }
  }
})

test('the tarball stays small', async (t) => {
  const { size } = await stat(tarball)
  t.log(`${Math.round(size / 1000)} kB`)
  t.true(size < packedBound * 1000, `${size} bytes`)
})

test('@cio/watch and @cio/cluster are installed beside the package, compile and run', async (t) => {
  const user = await mkdtemp(join(tmpdir(), 'cio-user-'))
  try {
    await writeFile(join(user, 'package.json'), '{ "private": true }')
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund']
    await run('npm', [...install, tarball, ...packed], { cwd: user })
    t.is(await compiles('fleet.mts', fleet, { within: user }), '')
    const js = fleet.replaceAll('<string>', '')
    t.is(await runs('fleet.mjs', js, { cwd: user }), '200 text/html 1 hello 127.0.0.1\n')
    const { stdout } = await run('npx', ['--no-install', 'cio', 'top', '--help'], { cwd: user })
    t.regex(stdout, /cio top/)
  } finally {
    await rm(user, { recursive: true })
  }
})

/** A program on Cio and both packages, in both languages but for its type arguments. */
const fleet = `
import { Cio, json } from 'cio'
import { cluster, memory, registry, rooms } from '@cio/cluster'
import { watch } from '@cio/watch'

const here = cluster({ engine: memory() })
const hall = rooms<string>(here)
const devices = registry(here, { key: ({ address }) => address })
const app = new Cio()
  .useServer(here)
  .useConnection(json<string>())
  .useConnection(hall)
  .useConnection(devices)
  .useConnection(async (ctx) => {
    await ctx.rooms.join('all')
    for await (const message of ctx.messages) await hall.send('all', message)
  })
const watching = watch(app)
const admin = await watching.listen(0)
const server = await app.listen({ port: 0, host: '127.0.0.1' })
const client = await new Cio()
  .useClient(json<string>())
  .connect({ port: server.port, host: '127.0.0.1' })
await client.messages.send('hello')
const { value } = await client.messages.next()
const entry = await devices.find('127.0.0.1')

const { origin, searchParams } = new URL(admin.url)
const headers = { authorization: 'Bearer ' + searchParams.get('token') }
const { status, headers: answered } = await fetch(origin, { headers })
const [, active] = /^cio_connection_active\\{.*\\} (.*)/m.exec(watching.metrics()) ?? []
console.log(status, answered.get('content-type')?.split(';')[0], active, value, entry?.key)
await client.close()
await server.close()
await admin.close()
`

const ownTsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')

/** Packs a package that stands on Cio, by the scripts of a copy. */
async function packs(name: string, copy: string): Promise<string> {
  const [from, to] = [root, copy].map((clone) => join(clone, 'packages', name))
  const isOurs = (path: string): boolean => !/[\\/](node_modules|dist|test)$/.test(path)
  await cp(from!, to!, { recursive: true, filter: isOurs })
  await symlink(join(from!, 'node_modules'), join(to!, 'node_modules'))
  const { stdout } = await run('npm', ['pack', '--silent'], { cwd: to! })
  return join(to!, stdout.trim().split('\n').at(-1) ?? '')
}

/** What the compiler says of a strict program. */
async function compiles(
  file: string,
  text: string,
  { tsc = ownTsc, within = projectWithPeers }: { tsc?: string; within?: string } = {},
): Promise<string> {
  const folder = join(within, file.replace('.mts', ''))
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, file), text)
  await writeFile(
    join(folder, 'tsconfig.json'),
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
      files: [file],
    }),
  )
  const { stdout } = await run(process.execPath, [tsc, '-p', folder]).catch(
    (error: { stdout: string }) => error,
  )
  return stdout
}

/** The paths of middleware: `limit` of `cio/limit`. */
async function middlewarePaths(): Promise<string[]> {
  const files = await readdir(join(root, 'middleware'))
  return files.filter((file) => file.endsWith('.ts')).map((file) => file.slice(0, -'.ts'.length))
}

async function runs(
  file: string,
  text: string,
  { cwd = project, options = [] }: { cwd?: string; options?: readonly string[] } = {},
): Promise<string> {
  await writeFile(join(cwd, file), text)
  const { stdout } = await run(process.execPath, [...options, file], { cwd })
  return stdout
}
