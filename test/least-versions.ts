/**
 * Runs the tests of codecs against the least version of each package that they may have. It needs
 * the network: `npm run test:least`.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import manifest from '../package.json' with { type: 'json' }

const names = ['@bufbuild/protobuf', 'cbor-x', 'msgpackr', '@streamparser/json', 'ws'] as const
const tests = ['protobuf', 'cbor', 'msgpack', 'json-stream', 'websocket']

const folder = mkdtempSync(join(tmpdir(), 'cio-least-'))
try {
  const dependencies = Object.fromEntries(
    names.map((name) => [name, manifest.peerDependencies[name].replace('^', '')]),
  )
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, dependencies }))
  execFileSync('npm', ['install', '--no-audit', '--no-fund'], { cwd: folder, stdio: 'inherit' })

  const parent = JSON.stringify(pathToFileURL(join(folder, 'package.json')).href)
  const hook = `const names = ${JSON.stringify(names)}
export const resolve = (name, context, next) =>
  next(name, names.includes(name) ? { ...context, parentURL: ${parent} } : context)`
  writeFileSync(join(folder, 'hook.mjs'), hook)
  const register = `import { register } from 'node:module'
register('./hook.mjs', import.meta.url)`
  writeFileSync(join(folder, 'register.mjs'), register)

  const files = tests.map((name) => `test/middleware/${name}.test.ts`)
  const { status } = spawnSync('npx', ['ava', ...files], {
    stdio: 'inherit',
    env: {
      ...process.env,
      NODE_OPTIONS: `--import=${pathToFileURL(join(folder, 'register.mjs')).href}`,
    },
  })
  process.exitCode = status ?? 1
} finally {
  rmSync(folder, { recursive: true })
}
