/** What `.ci/install.mjs` decides, for systems that are not at hand too, and what it does. */

import test, { type ExecutionContext } from 'ava'
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import manifest from '../package.json' with { type: 'json' }
import { folderOf, missingPackages, npmCommand } from '../.ci/packages.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)

/** Folders with a package.json of their own. */
const parts = ['.ci', 'bench', 'docs', 'examples', 'test/interop']

interface Manifest {
  readonly dependencies?: Record<string, string>
  readonly devDependencies?: Record<string, string>
}

test('a folder is found whatever characters are in its path', (t) => {
  const posix = { windows: false }
  t.is(folderOf('file:///home/a%20b/cio/.ci/install.mjs', '.', posix), '/home/a b/cio')
  t.is(folderOf('file:///c%C3%ADo%231/.ci/x.mjs', 'test/interop', posix), '/cío#1/test/interop')
  const windows = { windows: true }
  t.is(
    folderOf('file:///C:/My%20Code/cio/.ci/x.mjs', 'test/interop', windows),
    'C:\\My Code\\cio\\test\\interop',
  )
  t.is(folderOf('file://server/share/cio/.ci/x.mjs', '.', windows), '\\\\server\\share\\cio')
})

test('npm is started without a shell where `npm run` names it, with a space in its path too', (t) => {
  for (const [platform, execPath, npmExecPath] of [
    ['linux', '/usr/bin/node', '/opt/my npm/bin/npm-cli.js'],
    ['win32', 'C:\\Program Files\\nodejs\\node.exe', 'C:\\Program Files\\npm\\bin\\npm-cli.js'],
  ] as const) {
    t.deepEqual(npmCommand({ platform, execPath, npmExecPath }), {
      command: execPath,
      before: [npmExecPath],
      shell: false,
    })
  }
})

test('npm is found by its name otherwise: on Windows it is a batch file, which needs a shell', (t) => {
  for (const npmExecPath of [undefined, '/usr/lib/pnpm/bin/pnpm.cjs', '/usr/bin/yarn.js']) {
    const found = npmCommand({ platform: 'linux', execPath: '/usr/bin/node', npmExecPath })
    t.deepEqual(found, { command: 'npm', before: [], shell: false })
    t.true(npmCommand({ platform: 'win32', execPath: 'node.exe', npmExecPath }).shell)
  }
})

test('packages for other systems are not missing, nor are those of development in production', (t) => {
  const wanted = {
    '': { version: '1.0.0' },
    'node_modules/a': { version: '1.0.0' },
    'node_modules/b': { version: '1.0.0', dev: true },
    'node_modules/c': { version: '1.0.0', optional: true },
    'node_modules/d': { version: '1.0.0', dev: true, devOptional: true },
  }
  t.deepEqual(missingPackages(wanted, {}, { dev: true }), ['node_modules/a', 'node_modules/b'])
  t.deepEqual(missingPackages(wanted, {}, { dev: false }), ['node_modules/a'])
  const present = { 'node_modules/a': { version: '1.0.0' }, 'node_modules/b': { version: '0.9.0' } }
  t.deepEqual(missingPackages(wanted, present, { dev: true }), ['node_modules/b'])
  t.deepEqual(missingPackages(wanted, present, { dev: false }), [])
})

/** A clone, in a folder with a space in its name, and an npm that writes down what it is asked. */
async function clone(t: ExecutionContext) {
  const scratch = await mkdtemp(join(tmpdir(), 'cio with a space '))
  t.teardown(() => rm(scratch, { recursive: true }))
  const folder = join(scratch, 'my clone')
  await cp(join(root, '.ci'), join(folder, '.ci'), {
    recursive: true,
    filter: (path) => !path.includes('node_modules'),
  })
  const packages = {
    '': {},
    'node_modules/needed': { version: '1.0.0' },
    'node_modules/tested': { version: '1.0.0', dev: true },
  }
  for (const path of [folder, join(folder, 'part')]) {
    await mkdir(path, { recursive: true })
    await writeFile(join(path, 'package-lock.json'), JSON.stringify({ packages }))
  }
  const asked = join(scratch, 'asked')
  const npm = join(scratch, 'npm-cli.cjs')
  await writeFile(
    npm,
    `const { appendFileSync, mkdirSync, readFileSync, writeFileSync } = require('fs')
     const { basename } = require('path')
     const words = process.argv.slice(2).filter((word) => !/audit|fund/.test(word))
     appendFileSync(${JSON.stringify(asked)}, basename(process.cwd()) + ': ' + words.join(' ') + '\\n')
     const { packages } = JSON.parse(readFileSync('package-lock.json'))
     if (words.includes('--omit=dev')) delete packages['node_modules/tested']
     mkdirSync('node_modules', { recursive: true })
     writeFileSync('node_modules/.package-lock.json', JSON.stringify({ packages }))`,
  )
  return {
    folder,
    install: (...words: string[]) =>
      run(process.execPath, [join(folder, '.ci', 'install.mjs'), ...words], {
        env: { ...process.env, npm_execpath: npm },
      }),
    asked: async () => (await readFile(asked, 'utf8')).trim().split('\n'),
  }
}

test('a clone in a folder with a space is installed once, from another folder too', async (t) => {
  const { install, asked } = await clone(t)
  await install('part')
  await install('part')
  t.deepEqual(await asked(), ['my clone: ci', 'part: ci'])
})

test('what only production needs is added to by what development needs', async (t) => {
  const { install, asked } = await clone(t)
  await install('--production', 'part')
  await install('--production', 'part')
  await install()
  await install('--production')
  t.deepEqual(await asked(), ['my clone: ci --omit=dev', 'part: ci', 'my clone: install'])
})

test('an npm that fails ends the installation with its code', async (t) => {
  const { install, folder } = await clone(t)
  await writeFile(join(folder, 'package-lock.json'), '{ "packages": { "": {}, "x": {} } }')
  await writeFile(join(folder, '..', 'npm-cli.cjs'), 'process.exit(7)')
  const failed = await t.throwsAsync(install('part'))
  t.is((failed as { code?: unknown }).code, 7)
})

test('all package.json of the repository name one version of a package', async (t) => {
  const { dependencies, devDependencies }: Manifest = manifest
  const ours = { ...dependencies, ...devDependencies }
  for (const part of parts) {
    const text = await readFile(join(root, part, 'package.json'), 'utf8')
    for (const [name, range] of Object.entries((JSON.parse(text) as Manifest).devDependencies!)) {
      t.is(ours[name] ?? range, range, `${name} of ${part}`)
    }
  }
})

test('the scripts need no shell but what every system has', (t) => {
  const { check: _bash, ...scripts } = manifest.scripts
  for (const [name, line] of Object.entries(scripts)) {
    t.notRegex(line, /'.*\*|\brm\b|\bbash\b|\bcp\b|\$|;/, name)
  }
})
