/** The promises of SECURITY.md and of the threat model name tests that exist. */

import test from 'ava'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path: string): Promise<string> => readFile(root + path, 'utf8')

/** `…` on a page stands for a part that varies: `${…}` in the source of the title. */
const variable = /`?\$\{(?:[^{}]|\{[^}]*\})*\}`?/g
const plain = (title: string): string => title.replaceAll('\\`', '').replace(variable, '…')

for (const page of ['SECURITY.md', 'docs/threat-model.md']) {
  test(`${page} names a test for each promise, and each test exists`, async (t) => {
    const text = await read(page)
    const [promises = ''] = text.split('\n## Out of scope\n')
    const items = [...promises.matchAll(/^- \*\*[^]*?(?=\n(?:- |#|$))/gm)].map(([item]) =>
      item.replace(/\s+/g, ' '),
    )
    t.true(items.length > 20)
    for (const item of items) {
      const named = [...item.matchAll(/`((?:packages\/\w+\/)?test\/[\w/.-]+\.ts)`: `([^`]+)`/g)]
      t.true(named.length > 0, `no test: ${item}`)
      for (const [, file, title] of named) {
        const source = await read(file!)
        const titles = [
          ...source.matchAll(
            /\btest(?:\.serial)?\(\s*(?:'((?:[^'\\]|\\.)+)'|`((?:[^`\\]|\\.)+)`)/g,
          ),
        ].map(([, quoted, template]) => plain(quoted ?? template!))
        t.true(titles.includes(title!), `${file}: ${title}`)
      }
    }
  })
}
