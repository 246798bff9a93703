import test from 'ava'
import { fileURLToPath } from 'node:url'
import { Cio } from '../../src/cio.ts'
import { Inspection } from '../../src/pipeline/inspection.ts'
import type { Middleware } from '../../src/pipeline/middleware.ts'
import type { PipelineEntry } from '../../src/pipeline/pipeline.ts'

const pass: Middleware = (_ctx, next) => next()
const here = fileURLToPath(import.meta.url).slice(process.cwd().length + 1)

function entry(entry: Partial<PipelineEntry>): PipelineEntry {
  return {
    name: 'audit',
    step: false,
    enabled: true,
    at: 'app.ts:1',
    before: [],
    after: [],
    requires: [],
    repeats: false,
    why: 'in order of registration',
    ...entry,
  }
}

/** The table of a connection pipeline, as a terminal of that width shows it. */
function print(entries: readonly PipelineEntry[], width?: number): string {
  const { stdout } = process
  const columns = Object.getOwnPropertyDescriptor(stdout, 'columns')
  Object.defineProperty(stdout, 'columns', { value: width, configurable: true })
  try {
    return String(new Inspection([], entries, []))
  } finally {
    delete (stdout as { columns?: number }).columns
    if (columns) Object.defineProperty(stdout, 'columns', columns)
  }
}

test('an inspection has the final order of all three pipelines as entries', (t) => {
  const app = new Cio()
    .useConnection(pass, { name: 'audit', before: 'secure' })
    .useConnection(pass, { name: 'last' })
  const { server, connection, client } = app.inspect()
  t.deepEqual(
    server.map(({ name }) => name),
    ['certs', 'listen'],
  )
  t.deepEqual(
    connection.map(({ name, why }) => [name, why]),
    [
      ['audit', 'before `secure`'],
      ['secure', 'step of Cio, in order of registration'],
      ['last', 'in order of registration'],
    ],
  )
  t.deepEqual(
    client.map(({ step }) => step),
    [true, true, true],
  )
})

test('an entry tells the file and line that registered it', (t) => {
  const app = new Cio().useServer(pass, { name: 'audit' })
  const audit = app.inspect().server.find(({ name }) => name === 'audit')
  t.regex(audit!.at, new RegExp(`^${here}:\\d+$`))
})

test('an inspection does not change with the app', (t) => {
  const app = new Cio()
  const inspection = app.inspect()
  app.useConnection(pass)
  t.is(inspection.connection.length, 1)
  t.is(app.inspect().connection.length, 2)
})

test('the table of an app reads so', (t) => {
  const table = print([
    entry({ name: 'audit', why: 'before `secure`' }),
    entry({ name: 'secure', at: 'cio', why: 'step of Cio, in order of registration', step: true }),
    entry({ name: 'retry', at: 'app.ts:3', repeats: true }),
    entry({ name: 'last', at: 'app.ts:4', enabled: false }),
  ])
  t.is(
    table,
    [
      'server',
      '',
      'connection',
      '  1  audit            before `secure`                        app.ts:1',
      '  2  secure           step of Cio, in order of registration  cio',
      '  3  retry (repeats)  in order of registration               app.ts:3',
      '  4  last (disabled)  in order of registration               app.ts:4',
      '',
      'client',
    ].join('\n'),
  )
})

const long = [
  entry({
    name: 'aNameThatIsLongerThanAnyoneWouldGiveToAMiddleware',
    why: 'before `aNameThatIsLongerThanAnyoneWouldGiveToAMiddleware`; after `users`, `lines` and all',
    at: `${'a-folder/'.repeat(12)}app.ts:1234`,
  }),
  entry({ name: 'x'.repeat(200), why: 'Y'.repeat(300), at: 'z'.repeat(300) }),
]

for (const width of [60, 80, 120, 200]) {
  test(`no line is longer than a terminal of ${width} columns, and nothing is lost`, (t) => {
    const table = print(long, width)
    for (const line of table.split('\n')) t.true(line.length <= width, line)
    const letters = (text: string, letter: string): number => text.split(letter).length - 1
    t.is(letters(table, 'x'), 200)
    t.is(letters(table, 'Y'), 300)
    t.is(letters(table, 'z'), 300)
    t.is(letters(table, 'a-folder/'), 12)
  })
}

test('without a terminal the table is 80 columns wide', (t) => {
  t.is(print(long), print(long, 80))
})
