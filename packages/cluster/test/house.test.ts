import test from 'ava'
import { readFile, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import manifest from '../package.json' with { type: 'json' }

const root = fileURLToPath(new URL('..', import.meta.url))
const files = (await readdir(`${root}src`, { recursive: true })).filter((name) =>
  name.endsWith('.ts'),
)
const sources = await Promise.all(
  files.map(async (name) => [name, await readFile(`${root}src/${name}`, 'utf8')] as const),
)
const readme = await readFile(`${root}README.md`, 'utf8')

test('the package imports the public doors of Cio alone', (t) => {
  const doors = /^(?:node:[\w/]+|cio(?:\/[\w-]+)?|\.{1,2}\/[\w./-]+\.ts)$/
  for (const [name, whole] of sources) {
    const text = whole.replace(/^\s*\/\*[^]*?\*\//gm, '')
    const ofNats = name.startsWith('nats')
    for (const [, from = ''] of text.matchAll(/^(?:import|export) (?:[^']* from )?'([^']+)'/gm)) {
      const allowed = doors.test(from) || (ofNats && from.startsWith('@nats-io/'))
      t.true(allowed && !from.startsWith('../../../'), `${name}: ${from}`)
    }
  }
})

test('every package that it imports is an optional peer, and it has no dependencies', (t) => {
  const { peerDependencies, peerDependenciesMeta } = manifest
  t.false('dependencies' in manifest)
  for (const [name, text] of sources) {
    for (const [, from = ''] of text.matchAll(/^import [^']*'(@nats-io\/[\w-]+)'/gm)) {
      t.true(from in peerDependencies, `${name}: ${from}`)
      t.true(from in peerDependenciesMeta, `${from} is optional`)
    }
  }
})

test('every error code has its item in the README, and the reverse', (t) => {
  const items = [...readme.matchAll(/^- `(ERR_CIO_\w+)` \((?:local|remote|both)\): /gm)].map(
    ([, code]) => code!,
  )
  const thrown = new Set(
    sources.flatMap(([, text]) =>
      [...text.matchAll(/'(ERR_CIO_[A-Z_]+)'/g)].map(([, code]) => code!),
    ),
  )
  // Of Cio itself: docs/errors.md.
  const ofCio = new Set(['ERR_CIO_CLOSED', 'ERR_CIO_OPTION', 'ERR_CIO_RPC'])
  t.deepEqual(
    items,
    [...thrown].filter((code) => !ofCio.has(code)).toSorted(byWord),
    'in alphabetical order, once each',
  )
})

function byWord(a: string, b: string): number {
  return a.replaceAll('_', ' ') < b.replaceAll('_', ' ') ? -1 : 1
}

test('every event has its item in the README, and the reverse', (t) => {
  const items = [...readme.matchAll(/^- `(?!ERR_)(\w+)` \([\w, ]*\):/gm)].map(([, event]) => event!)
  const declared = sources.flatMap(([, text]) =>
    [...text.matchAll(/^ *interface AppEvents \{([^]*?)\n {2}\}/gm)].flatMap(([, body = '']) =>
      [...body.matchAll(/^ +(\w+): \[/gm)].map(([, event]) => event!),
    ),
  )
  t.deepEqual(items.toSorted(), declared.toSorted())
})

test('every option says its default', (t) => {
  for (const [name, text] of sources) {
    for (const [, body = ''] of text.matchAll(/interface \w+Options\b[^{]*\{([^]*?)\n\}/g)) {
      for (const [, comment = '', option = ''] of body.matchAll(
        /(?:\/\*\*((?:(?!\*\/)[^])*)\*\/\s*)?readonly (\w+)\?:/g,
      )) {
        t.regex(comment, /@default|\bWithout it\b/, `${option} of ${name}`)
      }
    }
  }
})

test('no file has outgrown 200 lines of code', (t) => {
  for (const [name, text] of sources) {
    const code = text.replace(/^\s*\/\*[^]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '')
    const lines = code.split('\n').filter((line) => line.trim() !== '').length
    t.true(lines <= 200, `${name} has ${lines}`)
  }
})
