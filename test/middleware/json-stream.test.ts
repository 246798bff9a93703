import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { z } from 'zod'
import { ValueDecoder } from '../../middleware/json-stream/decoder.ts'
import { jsonStream, type JsonStreamOptions } from '../../middleware/json-stream.ts'
import { Cio, type CioError } from '../../src/index.ts'
import { codecContract, jsonValues } from '../contracts/codec.ts'
import { type Input, type Received, feed } from '../support/receive.ts'
import { dial, readAll, serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { many } from '../support/long.ts'

codecContract<unknown>(test, {
  codec: jsonStream,
  arbitrary: jsonValues,
  ofLength: (bytes) => 'x'.repeat(bytes - 2),
  encode: (value) => Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`),
  keeps: 12,
  truncated: 'ERR_CIO_TRUNCATED',
})

/** The messages that a server decodes from this input, collected if there are no handlers. */
async function receive(
  t: ExecutionContext,
  input: Input,
  options: JsonStreamOptions = {},
): Promise<Received<unknown>> {
  const messages: unknown[] = []
  const handled = options.root ?? options.top ?? options.paths
  const app = new Cio()
  app.useConnection(jsonStream(options)).useConnection(async (ctx, next) => {
    if (handled) return next()
    for await (const message of ctx.messages) messages.push(message)
  })
  const told = recordEvents(app)
  await feed(t, app, input)
  return { messages, error: (told.remoteError[0] ?? told.error[0]) as CioError | undefined }
}

test('U+FEFF within a text is part of it, wherever the input is split', async (t) => {
  const value = { '\ufeffkey': '\ufefftext', after: '\n\ufeff\ufeff' }
  const bytes = Buffer.from(JSON.stringify(value))
  for (let cut = 0; cut <= bytes.length; cut++) {
    const { messages, error } = await receive(t, [bytes.subarray(0, cut), bytes.subarray(cut)])
    t.is(error, undefined)
    t.deepEqual(messages, [value])
  }
})

const pretty = (value: unknown): string => JSON.stringify(value, undefined, 2)

test('values follow each other with or without space between, over any number of lines', async (t) => {
  const input = `{"a":1}{"b":[2]}[]"text""more"  true\n${pretty({ c: { d: null } })}\r\n12 -1.5e3 null`
  const { messages } = await receive(t, input)
  const scalars = [[], 'text', 'more', true]
  t.deepEqual(messages, [{ a: 1 }, { b: [2] }, ...scalars, { c: { d: null } }, 12, -1500, null])
})

test('a value is delivered when it is complete, before the next has begun', async (t) => {
  const app = new Cio()
    .useConnection(jsonStream())
    .useConnection((ctx) => ctx.messages.each((value) => ctx.messages.send(value)))
  const client = await dial(t, await serve(t, app))
  client.write('{\n  "a": 1\n}')
  t.is(String((await once(client, 'data'))[0]), '{"a":1}\n')
})

test('root, top and paths receive their values in the order of completion', async (t) => {
  const seen: unknown[] = []
  const tell =
    (name: string) =>
    (value: unknown): void => {
      seen.push([name, value])
    }
  await receive(t, pretty({ header: { v: 1 }, items: [{ id: 1 }, { id: 2 }], footer: 'end' }), {
    root: tell('root'),
    top: { header: tell('header'), footer: tell('footer') },
    paths: { '$.items.*.id': tell('id'), '$.items.1': tell('second') },
  })
  t.deepEqual(seen, [
    ['header', { v: 1 }],
    ['id', 1],
    ['id', 2],
    ['second', { id: 2 }],
    ['footer', 'end'],
    ['root', { header: { v: 1 }, items: [{ id: 1 }, { id: 2 }], footer: 'end' }],
  ])
})

test('a handler may return a promise, which is awaited, and may send', async (t) => {
  const app = new Cio().useConnection(
    jsonStream({
      paths: {
        '$.*': async (value, ctx) => {
          await new Promise((resolve) => setImmediate(resolve))
          await ctx.messages.send({ got: value })
        },
      },
    }),
  )
  const client = await dial(t, await serve(t, app))
  client.end('[1, 2,\n3]')
  t.is(await readAll(client), '{"got":1}\n{"got":2}\n{"got":3}\n')
})

test('handlers serve a client, which is connected at once', async (t) => {
  const app = new Cio()
    .useConnection(({ stream }) => void stream.end('{"a":[1,2]}'))
    .useClient(jsonStream({ top: { a: (value) => void seen.push(value) } }))
  const seen: unknown[] = []
  const client = await app.connect((await serve(t, app)).port)
  await client.closed
  t.deepEqual(seen, [[1, 2]])
})

test('an endless array is read by its elements, which are not kept', (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heap = (): number => {
    collect()
    return process.memoryUsage().heapUsed
  }
  let count = 0
  const bounds = { maxLength: 2000, maxDepth: 64 }
  const decoder = new ValueDecoder(['$.items.*'], bounds, () => void count++)
  const piece = Buffer.from(`${JSON.stringify({ id: 1, text: 'x'.repeat(1000) })},`.repeat(60))
  decoder.decode(Buffer.from('{"items":['), [])
  const before = heap()
  for (let index = 0; index < 300; index++) decoder.decode(piece, [])
  t.true(heap() - before < 2 * 1024 * 1024, `${heap() - before} of ${300 * piece.length}`)
  t.is(count, 300 * 60)
})

test('values without a handler are skipped, however long they are together', async (t) => {
  const seen: unknown[] = []
  const skipped = JSON.stringify(Array.from({ length: 5000 }, (_, id) => ({ id })))
  const { error } = await receive(t, `{"skipped":${skipped},"wanted":1}`, {
    top: { wanted: (value) => void seen.push(value) },
    maxLength: 1000,
  })
  t.is(error, undefined)
  t.deepEqual(seen, [1])
})

for (const [what, input] of Object.entries({
  'a value in one chunk': `{"a":"${'x'.repeat(600)}","b":"${'x'.repeat(600)}"}`,
  'a text that is skipped': `{"skipped":"${'x'.repeat(1001)}"}`,
  'a key': `{"${'k'.repeat(1001)}":1}`,
})) {
  test(`${what} above maxLength ends the connection`, async (t) => {
    const options = what.startsWith('a value') ? {} : { top: { a: () => {} } }
    const { error } = await receive(t, input, { maxLength: 1000, ...options })
    t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  })
}

test('keys without a handler do not count together', async (t) => {
  const input = `{"${'k'.repeat(900)}":`.repeat(10)
  const options = { maxLength: 1000, top: { a: () => {} } }
  t.is((await receive(t, input, options)).error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('a token that does not end ends the connection at the limit', async (t) => {
  const chunks = Array.from({ length: 40 }, () => 'x'.repeat(1000))
  for (const start of ['"', '{"a":"', '{"skipped":"', '{"']) {
    const options = { maxLength: 5000, top: { a: () => {} } }
    const { error } = await receive(t, [start, ...chunks], options)
    t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG', start)
  }
})

test('input nested deeper than maxDepth ends the connection', async (t) => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
  const { messages, error } = await receive(t, nested(64) + nested(65))
  t.is(messages.length, 1)
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  const other = await receive(t, '{"a":'.repeat(5), { maxDepth: 4, top: { b: () => {} } })
  t.is(other.error?.code, 'ERR_CIO_SYNTAX')
})

test('input that is not JSON is reported with its offset, shortened and escaped, after the values before it', async (t) => {
  const { messages, error } = await receive(t, '{"a":1} {"b" \u001b[31m}')
  t.deepEqual(messages, [{ a: 1 }])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  t.is(error?.fault, 'remote')
  t.regex(error!.message, /at byte 8 is not JSON/)
  t.false(error!.message.includes('\u001b'))
  const long = await receive(t, `{"a":1 "${'x'.repeat(10_000)}"`)
  t.true(long.error!.message.length < 200)
})

/** Decodes input that is split at some places; returns the messages and the final error. */
function outcome(
  input: Buffer,
  cuts: readonly number[],
  bounds = { maxLength: 1e6, maxDepth: 64 },
): {
  values: unknown[]
  code: string | undefined
  at: string | undefined
  message: string | undefined
} {
  const values: unknown[] = []
  const decoder = new ValueDecoder(['$'], bounds, (value) => value)
  try {
    let from = 0
    for (const to of [...cuts, input.length]) {
      decoder.decode(input.subarray(from, to), values)
      from = to
    }
    decoder.end(values)
    return { values, code: undefined, at: undefined, message: undefined }
  } catch (error) {
    const { code, message } = error as CioError
    return { values, code, message, at: /at byte (\d+)/.exec(message)?.[1] }
  }
}

for (const [text, at] of Object.entries({
  '[1]x': '3',
  '[1]]': '3',
  '[1] tru!': '4',
  '[1]\n\n {"a" 2}': '6',
  '1x': '1',
  '"a""b"!': '6',
  '\ufeff[1]x': '6',
})) {
  test(`${JSON.stringify(text)} fails at byte ${at}, wherever it is split`, (t) => {
    const input = Buffer.from(text)
    for (let cut = 0; cut <= input.length; cut++) {
      const found = outcome(input, [cut])
      t.is(found.code, 'ERR_CIO_SYNTAX')
      t.is(found.at, at)
      t.deepEqual(found.values, outcome(input, []).values)
    }
  })
}

test('a value that is too long is rejected for that, wherever it is split, and one byte less is accepted', (t) => {
  const bounds = { maxLength: 20, maxDepth: 64 }
  for (const text of [
    `"${'x'.repeat(18)}`,
    `"${'\\u0041'.repeat(3)}`,
    '1'.repeat(20),
    `[${'1'.repeat(18)}`,
  ]) {
    const close = text.startsWith('"') ? '"' : text.startsWith('[') ? ']' : ' '
    const fits = Buffer.from(text + close)
    const longer = Buffer.from(`${text}${text.at(-1) === '[' ? ' ' : '1'}${close} !`)
    for (let cut = 0; cut <= longer.length; cut++) {
      t.is(outcome(fits, [Math.min(cut, fits.length)], bounds).code, undefined, text)
      t.is(outcome(longer, [cut], bounds).code, 'ERR_CIO_MESSAGE_TOO_LONG', text)
    }
  }
})

test('every value except a number is delivered with its last byte', (t) => {
  for (const text of ['{}', '[]', '"a"', 'true', 'null', '{"a":[1]}', '[1,2]']) {
    const values: unknown[] = []
    const decoder = new ValueDecoder(['$'], { maxLength: 100, maxDepth: 9 }, (value) => value)
    for (const byte of Buffer.from(text)) decoder.decode(Buffer.of(byte), values)
    t.deepEqual(values, [JSON.parse(text)])
  }
})

test('a byte order mark is skipped at the beginning and nowhere else, as json does', (t) => {
  const mark = '\ufeff'
  for (const [text, values, code] of [
    [`${mark}{"a":1}\n2\n`, [{ a: 1 }, 2], undefined],
    [`${mark}\n`, [], undefined],
    [`1\n${mark}2\n`, [1], 'ERR_CIO_SYNTAX'],
    [`${mark}${mark}1\n`, [], 'ERR_CIO_SYNTAX'],
    [` ${mark}1\n`, [], 'ERR_CIO_SYNTAX'],
  ] as const) {
    const input = Buffer.from(text)
    for (let cut = 0; cut <= input.length; cut++) {
      const found = outcome(input, [cut])
      t.deepEqual({ values: found.values, code: found.code }, { values: [...values], code })
    }
  }
})

test('a broken or unfinished byte order mark is said to be one, however the input is cut', (t) => {
  for (const [input, code, words] of [
    [Buffer.of(0xef, 0xbb, 0x41), 'ERR_CIO_SYNTAX', 'at byte 0 is not UTF-8'],
    [Buffer.of(0xef, 0x0a), 'ERR_CIO_SYNTAX', 'at byte 0 is not UTF-8'],
    [Buffer.of(0xef), 'ERR_CIO_TRUNCATED', 'ended 1 bytes into a message'],
    [Buffer.of(0xef, 0xbb), 'ERR_CIO_TRUNCATED', 'ended 2 bytes into a message'],
  ] as const) {
    for (let cut = 0; cut <= input.length; cut++) {
      const found = outcome(input, [cut])
      t.is(found.code, code)
      t.true(found.message?.includes(words), found.message)
    }
  }
})

test('an error says the same however the input is cut', (t) => {
  for (const text of ['1\n\ufeff2\n', '\ufeff\ufeff1\n', '[1] tru!', '[1]\n\n {"a" 2}', '[1]]']) {
    const input = Buffer.from(text)
    const { message } = outcome(input, [])
    t.truthy(message)
    for (let cut = 0; cut <= input.length; cut++) t.is(outcome(input, [cut]).message, message)
  }
})

test('it accepts exactly the input that JSON.parse accepts', async (t) => {
  const decode = (text: string): unknown => {
    const values: unknown[] = []
    const decoder = new ValueDecoder(['$'], { maxLength: 1e6, maxDepth: 64 }, (value) => value)
    decoder.decode(Buffer.from(text), values)
    decoder.end(values)
    return values
  }
  const parse = (text: string): unknown => {
    try {
      return [JSON.parse(text)]
    } catch {
      return 'refused'
    }
  }
  const mutated = fc
    .tuple(
      fc.jsonValue(),
      fc.nat(),
      fc.constantFrom('', ',', ':', '"', '{', ']', '\\', '-', '0', '.', 'e', '\u0001', 'tru', '+'),
    )
    .map(([value, at, piece]) => {
      const text = JSON.stringify(value)
      const cut = at % (text.length + 1)
      return text.slice(0, cut) + piece + text.slice(cut + (at % 2))
    })
  fc.assert(
    fc.property(mutated, (text) => {
      let found: unknown
      try {
        found = decode(text)
      } catch {
        found = 'refused'
      }
      const wanted = parse(text)
      // Several values are several messages, and empty input is none.
      if (wanted === 'refused' && Array.isArray(found) && found.length !== 1) return
      t.deepEqual(found, wanted, text)
    }),
    { numRuns: many(3_000, 200), seed: 7 },
  )
  t.pass()
})

test('bytes that are not UTF-8 end the connection, after the values before them', async (t) => {
  const { messages, error } = await receive(t, Buffer.from([...Buffer.from('"ok�" "'), 0xff, 0x22]))
  t.true(messages.length <= 1)
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  const cut = await receive(t, [Buffer.from([0x22, 0xe2]), Buffer.from([0x28, 0xa1, 0x22])])
  t.is(cut.error?.code, 'ERR_CIO_SYNTAX')
})

test('a key named __proto__ is a key of its value and changes no prototype', async (t) => {
  const { messages } = await receive(t, '{"__proto__":{"polluted":true}}')
  t.deepEqual(Object.keys(messages[0] as object), ['__proto__'])
  t.is(({} as { polluted?: boolean }).polluted, undefined)
  const seen: unknown[] = []
  await receive(t, '{"__proto__":{"a":1},"b":2}', { top: { b: (value) => void seen.push(value) } })
  t.deepEqual(seen, [2])
})

test('messages are validated, and typed by the schema', async (t) => {
  const validate = z.object({ id: z.number() })
  const app = new Cio().useConnection(jsonStream({ validate })).useConnection(async (ctx) => {
    for await (const { id } of ctx.messages) t.is(id.toFixed(), '1')
  })
  const told = once(app, 'remoteError')
  const client = await dial(t, await serve(t, app))
  client.end('{"id":1}{"id":"x"}')
  t.is(((await told) as [CioError])[0].code, 'ERR_CIO_INVALID_MESSAGE')
})

test('a handler that throws ends the connection and is reported by error', async (t) => {
  const root = (): void => {
    throw new Error('mine')
  }
  t.is((await receive(t, '1 2', { root })).error?.message, 'mine')
})

test('indent sets the indentation of sent values', async (t) => {
  const app = new Cio()
    .useConnection(jsonStream({ indent: 2 }))
    .useConnection((ctx) => ctx.messages.send({ a: 1 }))
  const client = await dial(t, await serve(t, app))
  t.is(await readAll(client), '{\n  "a": 1\n}\n')
})

test('options of the wrong type are rejected when it is created', (t) => {
  const code = { code: 'ERR_CIO_OPTION' }
  t.throws(() => jsonStream({ top: { 'a.b': 1 as never } }), code)
  // It would be the `b` of `a`.
  t.throws(() => jsonStream({ top: { 'a.b': () => {} } }), code)
  t.throws(() => jsonStream({ paths: { 'items.*': () => {} } }), code)
  t.throws(() => jsonStream({ paths: { '$..id': () => {} } }), code)
  t.throws(() => jsonStream({ maxDepth: 0 }), code)
  t.throws(() => jsonStream({ indent: 11 }), code)
  t.throws(() => jsonStream({ root: () => {}, validate: z.string() }), code)
  t.throws(() => jsonStream({ roots: () => {} } as never), code)
})
