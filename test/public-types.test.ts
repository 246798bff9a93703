/** The surface of the package, as the compiler of an application sees it. */

import test from 'ava'
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { emitDeclarations, publicTypes, reachable } from '../scripts/declarations.ts'

let now = ''

test.before('asks the compiler', async () => {
  now = await publicTypes()
})

test('the public types are those of the snapshot; `npm run api` writes it', async (t) => {
  const path = new URL('snapshots/public-types.txt', import.meta.url)
  const was = (await readFile(path, 'utf8')).split('\n')
  const is = now.split('\n')
  // A diff of two thousand lines is for git to show.
  t.deepEqual({ gone: without(was, is), added: without(is, was) }, { gone: [], added: [] })
  t.is(is.length, was.length)
})

test('the snapshot holds names of all doors, and no member that is internal', (t) => {
  const [lists = '', declarations = ''] = now.split('\n# Declarations\n')
  const doors = [...lists.matchAll(/^# (.+)$/gm)].map(([, name]) => name)
  for (const door of ['cio', 'cio/kit', 'cio/testing', 'cio/pool', 'cio/limit', 'cio/cbor']) {
    t.true(doors.includes(door), door)
  }
  for (const name of ['Cio', 'StackLayer', 'Conformance', 'Context', 'cbor']) {
    t.regex(
      declarations,
      new RegExp(`^export declare (abstract )?\\w+ ${name}\\b|^export interface ${name}\\b`, 'm'),
    )
  }
  const client = /^export declare class ClientContext [^]*?^}/m.exec(declarations)?.[0] ?? ''
  t.regex(client, /^ {4}get options\(/m)
  t.notRegex(client, /^ {4}attach\(/m)
})

test('an application that imports cio alone has all that is added to its types: events, hints, contexts', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'cio-events-'))
  t.teardown(() => rm(folder, { recursive: true }))
  await emitDeclarations(folder)
  const loaded = await reachable(folder, ['src/index.d.ts'])
  const all = await readdir(folder, { recursive: true })
  const texts = await Promise.all(
    all
      .filter((path) => path.endsWith('.d.ts'))
      .map(async (path) => [path, await readFile(join(folder, path), 'utf8')] as const),
  )
  const declaring = texts.filter(([, text]) => /^declare module ['"]\./m.test(text))
  t.true(declaring.length > 10)
  for (const [path] of declaring) t.true(loaded.has(path), path)
})

function without(lines: readonly string[], others: readonly string[]): string[] {
  const known = new Set(others)
  return lines.filter((line) => !known.has(line))
}
