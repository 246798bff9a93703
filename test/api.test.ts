import test from 'ava'
import { type Entry, entries, pagesOf } from '../docs/api.ts'
import * as cio from '../src/index.ts'

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
