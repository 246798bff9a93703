import test from 'ava'
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import manifest from '../package.json' with { type: 'json' }

const root = fileURLToPath(new URL('..', import.meta.url))
const run = promisify(execFile)
const { version } = manifest
const [number] = version.split('-')

test('a tag of the version of both packages may be released', async (t) => {
  await t.notThrowsAsync(run(process.execPath, [join(root, '.ci/release.mjs'), `v${version}`]))
})

test('a tag that is not what it says is refused', async (t) => {
  for (const tag of ['v0.0.1', version, 'v1', '']) {
    await t.throwsAsync(run(process.execPath, [join(root, '.ci/release.mjs'), tag]), { code: 1 })
  }
})

test('a version whose section has no date is not released, but before it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cio-release-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await cp(join(root, '.ci/release.mjs'), join(folder, '.ci/release.mjs'))
  const write = async (has: string, changes: string): Promise<void> => {
    const text = JSON.stringify({ version: has })
    await cp(join(root, 'packages/create-cio/package.json'), join(folder, 'packages/create-cio/x'))
    await writeFile(join(folder, 'package.json'), text)
    await writeFile(join(folder, 'packages/create-cio/package.json'), text)
    await writeFile(join(folder, 'CHANGELOG.md'), changes)
  }
  const check = (tag: string): Promise<unknown> =>
    run(process.execPath, [join(folder, '.ci/release.mjs'), tag])

  await write('2.0.0', '## 2.0.0, not yet released\n')
  await t.throwsAsync(check('v2.0.0'), { code: 1 })
  await write('2.0.0', '## 2.0.0, 2026-11-24\n')
  await t.notThrowsAsync(check('v2.0.0'))
  await write('2.0.0-beta.1', '## 2.0.0, not yet released\n')
  await t.notThrowsAsync(check('v2.0.0-beta.1'))
  await write('2.0.0', '## 1.0.0, 2026-11-24\n')
  await t.throwsAsync(check('v2.0.0'), { code: 1 })
})

test('the changelog begins with the version that is being made', async (t) => {
  const changes = await readFile(join(root, 'CHANGELOG.md'), 'utf8')
  const [, first] = /^## ([\d.]+), /m.exec(changes) ?? []
  t.is(first, number)
})

test('the workflow that publishes states where, and keeps no token', async (t) => {
  const workflow = await readFile(join(root, '.github/workflows/release.yml'), 'utf8')
  const published = workflow.match(/npm publish.*/g) ?? []
  t.is(published.length, 2)
  for (const line of published) t.regex(line, /--provenance/)
  t.regex(workflow, /id-token: write/)
  t.notRegex(workflow, /secrets\./)
})
