import test from 'ava'
import { readdir, readFile } from 'node:fs/promises'
import {
  Cio,
  allowList,
  defineMiddleware,
  drain,
  limit,
  lines,
  reconnect,
} from '../../src/index.ts'

/** As JavaScript sees it: any middleware in any pipeline. */
interface Anywhere {
  useServer(middleware: unknown, hints?: object): unknown
  useConnection(middleware: unknown, hints?: object): unknown
  useClient(middleware: unknown, hints?: object): unknown
}

const app = (): Anywhere => new Cio()

test('a middleware in a pipeline that it does not work in is refused, in words', (t) => {
  const expected = { code: 'ERR_CIO_OPTION' }
  t.throws(() => app().useServer(limit()), {
    ...expected,
    message:
      /^`limit` does not work in the server pipeline; register it with `useConnection\(\)` \(at .*registration\.test/,
  })
  t.throws(() => app().useServer(lines()), {
    ...expected,
    message: /^`lines` does not work .* with `useConnection\(\)` or `useClient\(\)` /,
  })
  t.throws(() => app().useServer(allowList(['alice'])), expected)
  t.throws(() => app().useConnection(drain()), expected)
  t.throws(() => app().useConnection(reconnect()), expected)
  t.throws(() => app().useClient(limit()), expected)
})

test('so is one that another one is replaced by, or that a module has', async (t) => {
  const replaced = new Cio().useServer(drain())
  const pipeline = replaced.pipelines.server as unknown as {
    replace(name: string, by: unknown): void
  }
  t.throws(() => pipeline.replace('drain', limit()), { code: 'ERR_CIO_OPTION' })

  const module = new URL('../fixtures/clients-only.mjs', import.meta.url).href
  const loading = new Cio().useServer(module)
  for (let attempt = 1; attempt <= 2; attempt++) {
    await t.throwsAsync(loading.listen(0), {
      code: 'ERR_CIO_OPTION',
      message: /^`clientsOnly` does not work in the server pipeline; .* `useClient\(\)`/,
    })
  }
})

test('a hint of the registration takes precedence, and without one all pipelines are right', (t) => {
  const everywhere = { pipelines: ['server', 'connection', 'client'] }
  t.notThrows(() => app().useServer(limit(), everywhere))
  t.notThrows(() => app().useServer(() => {}))
})

for (const [what, pipelines] of [
  ['an unknown name', ['connections']],
  ['a text', 'connection'],
  ['an empty list', []],
  ['null', null],
] as const) {
  test(`the hint \`pipelines\` refuses ${what}`, (t) => {
    const hints: object = { pipelines }
    const expected = { code: 'ERR_CIO_OPTION', message: /pipelines/ }
    t.throws(() => defineMiddleware(hints, () => {}), expected)
  })
}

test('each middleware refuses the pipelines that its doc comment does not name', async (t) => {
  const folder = new URL('../../middleware/', import.meta.url)
  const codecs = new Set<string>()
  for (const file of (await readdir(folder)).filter((name) => name.endsWith('.ts'))) {
    const source = await readFile(new URL(file, folder), 'utf8')
    const named = /@pipelines (.*)/.exec(source)?.[1]!.split(', ')
    const hint = /\bpipelines: \[(.*?)\]/.exec(source)?.[1]!.replaceAll("'", '').split(', ')
    if (hint) t.deepEqual(hint, named, file)
    // The codecs share one definition.
    else codecs.add(named!.join())
  }
  t.deepEqual([...codecs], ['connection,client'])
})
