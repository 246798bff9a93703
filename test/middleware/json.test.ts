import test from 'ava'
import split2 from 'split2'
import { Cio, json } from '../../src/index.ts'
import { codecContract, jsonValues } from '../contracts/codec.ts'
import { receive } from '../support/receive.ts'
import { dial, readAll, serve } from '../support/serve.ts'

codecContract<unknown>(test, {
  codec: json,
  arbitrary: jsonValues,
  ofLength: (bytes) => 'x'.repeat(bytes - 2),
  encode: (value) => Buffer.from(`${JSON.stringify(value)}\n`),
  truncated: 'ERR_CIO_SYNTAX',
})

test('a line that is not JSON is reported with its offset in bytes, and escaped', async (t) => {
  const { messages, error } = await receive(t, json(), '"é"\n\n{"a":1}\n{"b":\u001b[31m}\n')
  t.deepEqual(messages, ['é', { a: 1 }])
  t.is(error?.code, 'ERR_CIO_SYNTAX')
  t.regex(error!.message, /at byte 14 is not JSON/)
  t.false(error!.message.includes('\u001b'))
})

test('empty lines are skipped', async (t) => {
  t.deepEqual((await receive(t, json(), '\n1\r\n\r\n\n2\n')).messages, [1, 2])
})

test('an unterminated last line that is JSON is a message', async (t) => {
  t.deepEqual((await receive(t, json(), '1\n[2]')).messages, [1, [2]])
})

test('a key named __proto__ stays a key of its value and changes no prototype', async (t) => {
  const { messages } = await receive(t, json(), '{"__proto__":{"polluted":true}}\n')
  const [value] = messages as [object]
  t.true(Object.hasOwn(value, '__proto__'))
  t.is(Object.getPrototypeOf(value), Object.prototype)
  t.false('polluted' in {})
})

test('a message that does not satisfy the schema ends the connection, after those that do', async (t) => {
  const validate = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (value: unknown) =>
        typeof value === 'number' ? { value: value * 2 } : { issues: [{ message: 'no number' }] },
    },
  }
  const { messages, error } = await receive(t, json({ validate }), '1\n"two"\n3\n')
  t.deepEqual(messages, [2])
  t.is(error?.code, 'ERR_CIO_INVALID_MESSAGE')
})

test('a message that JSON cannot represent is rejected and the connection stays open', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    const circular: { self?: unknown } = {}
    circular.self = circular
    for (const message of [undefined, () => 1, circular, 1n]) {
      await t.throwsAsync(ctx.messages.send(message), { code: 'ERR_CIO_ENCODE' })
    }
    await ctx.messages.send('fine')
  })
  const server = await serve(t, app)
  t.is(await readAll(await dial(t, server)), '"fine"\n')
})

test('split2 reads the sent messages', async (t) => {
  const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
    await ctx.messages.sendMany([{ one: 1 }, ['zwei ☃'], null])
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const heard: string[] = []
  for await (const line of socket.pipe(split2())) heard.push(String(line))
  t.deepEqual(heard, ['{"one":1}', '["zwei ☃"]', 'null'])
})

test('a byte order mark is skipped at the beginning and nowhere else, as jsonStream does', async (t) => {
  const mark = '\ufeff'
  for (const [text, values, code] of [
    [`${mark}{"a":1}\n2\n`, [{ a: 1 }, 2], undefined],
    [`${mark}\n`, [], undefined],
    [`1\n${mark}2\n`, [1], 'ERR_CIO_SYNTAX'],
    [`${mark}${mark}1\n`, [], 'ERR_CIO_SYNTAX'],
  ] as const) {
    const input = Buffer.from(text)
    for (let cut = 0; cut <= input.length; cut++) {
      const pieces = [input.subarray(0, cut), input.subarray(cut)]
      const { messages, error } = await receive(t, json(), pieces)
      t.deepEqual([messages, error?.code], [[...values], code])
    }
  }
})

const misleading = JSON.stringify(']\\"[{')

/** A value in so many arrays, with brackets in a string in each. */
const nested = (depth: number): string => `${`[${misleading},`.repeat(depth)}1${']'.repeat(depth)}`

test('a value is nested 1,000 deep at most, so that what is read can be sent', async (t) => {
  const deepest = JSON.parse(nested(1_000)) as unknown
  t.deepEqual((await receive(t, json(), `${nested(1_000)}\n`)).messages, [deepest])
  for (const line of [
    nested(1_001),
    nested(50_000),
    `${'{"":'.repeat(1_001)}1${'}'.repeat(1_001)}`,
  ]) {
    const { messages, error } = await receive(t, json(), `1\n${line}\n`)
    t.deepEqual(messages, [1])
    t.like(error, { code: 'ERR_CIO_SYNTAX', fault: 'remote' })
    t.regex(error!.message, /at byte 2 is nested deeper than 1000/)
  }
})

test('many values beside each other are not nested, whatever their strings contain', async (t) => {
  const line = `[${`{${misleading}:[${misleading}]},`.repeat(5_000)}1]`
  const { messages } = await receive(t, json(), `${line}\n`)
  t.deepEqual(messages, [JSON.parse(line)])
})
