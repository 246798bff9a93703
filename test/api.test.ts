import test from 'ava'
import { type Entry, entries, pagesOf, sidebarOf } from '../docs/api.ts'
import * as cio from '../src/index.ts'
import * as kit from '../src/kit.ts'
import * as testing from '../src/testing.ts'

let all: Entry[] = []

test.before('asks the compiler', async () => {
  all = await entries()
})

test('the reference has every name that cio exports, once', (t) => {
  const names = all.map(({ name }) => name)
  for (const name of Object.keys(cio)) t.true(names.includes(name), name)
  t.deepEqual(names, [...new Set(names)])
  // Types, which no import at run time shows.
  for (const name of ['Middleware', 'ConnectionContext', 'AppEvents']) t.true(names.includes(name))
})

test('the reference has every name of cio/kit, of cio/testing and of paths of their own', (t) => {
  for (const [door, names] of [
    ['cio', Object.keys(cio)],
    ['cio/kit', Object.keys(kit)],
    ['cio/testing', Object.keys(testing)],
    ['cio/msgpack', ['msgpack', 'MsgpackOptions']],
  ] as const) {
    const found = all.filter(({ from }) => from.includes(door)).map(({ name }) => name)
    for (const name of names) t.true(found.includes(name), `${door}: ${name}`)
  }
})

test('the reference begins with Cio, and leads to each page once', (t) => {
  const groups = sidebarOf(all)
  t.deepEqual(
    groups.map(({ text }) => text),
    ['cio', 'cio/kit', 'cio/pool', 'cio/testing', 'middleware'],
  )
  t.is(groups[0]?.items[0]?.text, 'Cio')
  const links = groups.flatMap(({ items }) => items.map(({ link }) => link.slice('/api/'.length)))
  t.deepEqual([...links, 'index'].toSorted(), [...pagesOf(all).keys()].toSorted())
  t.regex(pagesOf(all).get('index') ?? '', /## cio\n[^#]*?\n\| --- \| --- \|\n\| \[`Cio`\]/)
})

test('what is @internal is not in the reference', (t) => {
  const context = all.find(({ name }) => name === 'ServerContext')
  t.regex(context?.declaration ?? '', /class ServerContext/)
  for (const { name, declaration } of all) t.notRegex(declaration, /@internal/, name)
})

test('every name in the reference says what it is', (t) => {
  t.deepEqual(
    all.filter(({ comment }) => comment === '').map(({ name, file }) => `${name} of ${file}`),
    [],
  )
})

test('a declaration ends where it ends, and shows nothing that is private', (t) => {
  const page = pagesOf(all).get('src-rates-backoff') ?? ''
  t.regex(page, /## sleep\n\nWaits [^]*?\n```ts\nfunction sleep\([^\n]*\): Promise<void>;\n```\n/)
  t.regex(all.find(({ name }) => name === 'Cio')?.declaration ?? '', /\n {4}listen\(/)
  for (const [name, text] of pagesOf(all)) {
    t.notRegex(text, /^ +(#private|private |protected )/m, name)
    t.is((text.match(/^```/gm) ?? []).length % 2, 0, name)
  }
})

test('the index leads to every name', (t) => {
  const pages = pagesOf(all)
  const index = pages.get('index') ?? ''
  for (const { name } of all) {
    const [, page = '', anchor] =
      new RegExp(`\\[\`${name}\`\\]\\(([\\w-]+)\\.md#(\\w+)\\)`).exec(index) ?? []
    t.regex(pages.get(page) ?? '', new RegExp(`^## ${name}$`, 'm'))
    t.is(anchor, name.toLowerCase())
  }
})
