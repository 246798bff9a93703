/**
 * What `npm create cio` writes holds: it passes its own tests and checks, with the Cio of this
 * folder as a publisher would pack it.
 */

import test from 'ava'
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import checks from '../.ci/package.json' with { type: 'json' }
import manifest from '../package.json' with { type: 'json' }
import scaffold from '../packages/create-cio/package.json' with { type: 'json' }

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
/** Milliseconds for one program. */
const longest = 300_000
const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--no-progress']

interface Manifest {
  readonly name: string
  readonly keywords?: readonly string[]
  readonly dependencies?: Record<string, string>
  readonly devDependencies: Record<string, string>
  readonly peerDependencies?: Record<string, string>
}

let folder = ''
let tarball = ''
let creator = ''

test.before('packs Cio and create-cio', async () => {
  folder = await mkdtemp(join(tmpdir(), 'cio-create-'))
  // A copy: building in place would pull `dist` from under others.
  const copy = join(folder, 'copy')
  await mkdir(copy)
  const others = [
    'cli',
    'scripts',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'README.md',
  ]
  for (const path of ['src', 'middleware', ...others]) {
    await cp(join(root, path), join(copy, path), { recursive: true })
  }
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  tarball = await pack(copy)

  // As it comes from npm: without what npm leaves out.
  const unpacked = join(folder, 'creator')
  await mkdir(unpacked)
  const packed = await pack(join(root, 'packages', 'create-cio'))
  await run('tar', ['xzf', packed, '-C', unpacked])
  creator = join(unpacked, 'package', 'create.mjs')
})

test.after.always(() => rm(folder, { recursive: true, force: true }))

test('an app passes its own tests, and its order can be looked at', async (t) => {
  const app = await create('greeter')
  await run('npm', [...install, tarball], { cwd: app, timeout: longest })
  t.regex(await npm(app, 'test'), /# pass 1\n[^]*# fail 0\n/)
  t.regex(await npm(app, 'run', '--silent', 'inspect'), /connection\n.*\n.*lines.*\n.*greet/)
})

test('a middleware package passes its own tests, publint and attw', async (t) => {
  const made = await create('cio-visit-count')
  await run('npm', [...install, '--save-dev', tarball], { cwd: made, timeout: longest })
  t.regex(await npm(made, 'test'), /# pass 4\n[^]*# fail 0\n/)
  await npm(made, 'run', 'build')
  t.regex(await npm(made, 'run', 'check'), /All good/)

  const { name, keywords, peerDependencies } = await manifestOf(made)
  t.is(name, 'cio-visit-count')
  t.true(keywords?.includes('cio-middleware'))
  t.deepEqual(peerDependencies, { cio: `^${manifest.version}` })
  const source = await readFile(join(made, 'src', 'index.ts'), 'utf8')
  t.regex(source, /export function visitCount\(/)
})

test('a test of a middleware package that fails says so, and does not stay', async (t) => {
  const made = await create('cio-fails')
  await run('npm', [...install, '--save-dev', tarball], { cwd: made, timeout: longest })
  const source = join(made, 'src', 'index.ts')
  const text = await readFile(source, 'utf8')
  await writeFile(source, text.replace('let next = first', 'let next = first + 1'))
  const failed = await t.throwsAsync<Error & { stdout: string }>(npm(made, 'test'), { code: 1 })
  t.regex(failed?.stdout ?? '', /# fail 1\n/)
})

test('a middleware package is not released before it says where it is from', async (t) => {
  const made = await create('cio-released')
  const workflow = await readFile(join(made, '.github', 'workflows', 'release.yml'), 'utf8')
  const [, check] = /- run: (.*repository\.url.*)/.exec(workflow) ?? []
  const env = { ...process.env, GITHUB_REPOSITORY: 'ann/cio-released' }
  const released = (): Promise<unknown> => run('sh', ['-c', check!], { cwd: made, env })
  await t.throwsAsync(released(), { code: 1 })
  const readme = await readFile(join(made, 'README.md'), 'utf8')
  const [, set] = /`(npm pkg set [^`]*)`/.exec(readme) ?? []
  await run('sh', ['-c', set!.replace('OWNER', 'ann')], { cwd: made })
  await t.notThrowsAsync(released())
})

test('nothing of the templates is left to fill in, and no file is left out', async (t) => {
  for (const template of ['app', 'middleware']) {
    const made = await create(`left-${template}`, '--template', template)
    const files = await readdir(made, { recursive: true, withFileTypes: true })
    const names = files.map(({ name }) => name)
    for (const name of ['.gitignore', 'ci.yml', 'README.md', 'package.json']) {
      t.true(names.includes(name), `${template}: ${name}`)
    }
    for (const file of files.filter((one) => one.isFile())) {
      const text = await readFile(join(file.parentPath, file.name), 'utf8')
      t.notRegex(text, /__\w+__/, file.name)
      if (file.name === 'README.md') t.regex(text, new RegExp(`^# \`left-${template}\`\n`))
    }
  }
})

test('the templates have the versions that Cio itself is tested with', async (t) => {
  t.is(scaffold.version, manifest.version)
  const known: Record<string, string> = { ...checks.devDependencies, ...manifest.devDependencies }
  for (const template of ['app', 'middleware']) {
    const path = join(root, 'packages', 'create-cio', 'templates', template)
    const { dependencies, devDependencies } = await manifestOf(path)
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      const expected = name === 'cio' ? '^__cio__' : (known[name] ?? 'none')
      t.is(version, expected, `${template}: ${name}`)
    }
  }
})

test('a folder that is not empty is left alone', async (t) => {
  const made = await create('twice')
  const before = await readFile(join(made, 'package.json'), 'utf8')
  await t.throwsAsync(create('twice', '--template', 'middleware'), { code: 1 })
  t.is(await readFile(join(made, 'package.json'), 'utf8'), before)
})

test('a name or a template that cannot be is refused, and nothing is written', async (t) => {
  for (const args of [['No Good'], ['no-good', '--template', 'none'], ['a', 'b'], ['--nix']]) {
    await t.throwsAsync(run(process.execPath, [creator, ...args], { cwd: folder }), { code: 2 })
  }
  t.false((await readdir(folder)).some((name) => /no/i.test(name)))
})

test('a name with which the project would not install or compile is refused', async (t) => {
  const middleware = ['--template', 'middleware']
  for (const args of [
    [''],
    ['cio'],
    ['tsx', ...middleware],
    ['cio-delete'],
    ['await', ...middleware],
    ['cio-test'],
    ['cio-next'],
    ['cio-run'],
    ['cio-check-count'],
    // Its context would be `StreamContext`.
    ['cio-stream'],
    ['cio-secure'],
  ]) {
    const name = args.join(' ')
    const refused = run(process.execPath, [creator, ...args], { cwd: folder })
    await t.throwsAsync(refused, { code: 2 }, name)
    t.false((await readdir(folder)).includes(args[0]!), name)
  }
  // None of them is a name of the app's program.
  await create('delete')
  await create('test')
})

async function pack(from: string): Promise<string> {
  const options = ['pack', '--silent', '--pack-destination', folder]
  const { stdout } = await run('npm', options, { cwd: from, timeout: longest })
  return join(folder, stdout.trim().split('\n').at(-1) ?? '')
}

async function create(name: string, ...options: readonly string[]): Promise<string> {
  await run(process.execPath, [creator, name, ...options], { cwd: folder, timeout: longest })
  return join(folder, name)
}

async function npm(cwd: string, ...args: readonly string[]): Promise<string> {
  // The TAP reporter, whatever Node's default is.
  const env = { ...process.env, NODE_OPTIONS: '--test-reporter=tap', FORCE_COLOR: '0' }
  const { stdout } = await run('npm', args, { cwd, timeout: longest, env })
  return stdout
}

async function manifestOf(path: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(path, 'package.json'), 'utf8')) as Manifest
}
