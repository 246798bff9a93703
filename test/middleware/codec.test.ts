import test from 'ava'
import { type } from 'arktype'
import { expectTypeOf } from 'expect-type'
import fc from 'fast-check'
import { once } from 'node:events'
import { deserialize, serialize } from 'node:v8'
import * as v from 'valibot'
import { z } from 'zod'
import { Cio, CioError, codec, json } from '../../src/index.ts'
import { codecContract } from '../contracts/codec.ts'
import { dial, readAll, serve } from '../support/serve.ts'

const header = (length: number): Buffer => Buffer.from([length >> 8, length])

codecContract<unknown>(test, {
  codec: (options) =>
    codec({
      encode: serialize,
      decode: deserialize as (b: Buffer) => unknown,
      length: 4,
      ...options,
    }),
  arbitrary: fc.jsonValue({ maxDepth: 2 }),
  // Node's serialization of Latin-1 text has a header of 4 bytes, or 5 with a two-byte length.
  ofLength: (bytes) => 'x'.repeat(bytes - serialize('x'.repeat(bytes)).length + bytes),
  encode(message) {
    const content = serialize(message)
    return Buffer.concat([Buffer.from([0, content.length >> 16]), header(content.length), content])
  },
  truncated: 'ERR_CIO_TRUNCATED',
})

const numbers = () =>
  codec({
    encode(value: number) {
      if (Number.isNaN(value)) throw new Error('not NaN')
      return String(value)
    },
    decode(frame) {
      if (frame.includes('x')) throw new Error('no x')
      if (frame.includes('y')) throw new CioError('ERR_MINE', 'no y', { fault: 'remote' })
      return Number(frame)
    },
    delimiter: ';',
  })

test('messages are typed by the two functions', async (t) => {
  const app = new Cio().useConnection(numbers()).useConnection(async ({ messages }) => {
    for await (const message of messages) {
      expectTypeOf(message).toEqualTypeOf<number>()
      await messages.send(message + 1)
    }
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('1;22;')
  t.is(await readAll(socket), '2;23;')
})

test('an error of decode ends the connection after the messages before, and is the cause', async (t) => {
  for (const [input, code] of [
    ['1;x;2;', 'ERR_CIO_SYNTAX'],
    ['1;y;2;', 'ERR_MINE'],
  ] as const) {
    const received: number[] = []
    const app = new Cio().useConnection(numbers()).useConnection(async ({ messages }) => {
      for await (const message of messages) received.push(message)
    })
    const told = once(app, 'remoteError')
    const server = await serve(t, app)
    ;(await dial(t, server)).end(input)
    const [error] = await told
    t.is(error.code, code)
    if (code === 'ERR_CIO_SYNTAX') {
      t.is(error.cause.message, 'no x')
      t.regex(error.message, /at byte 2 /)
    }
    t.deepEqual(received, [1])
  }
})

test('an error of encode rejects send(), and the connection stays open', async (t) => {
  const app = new Cio().useConnection(numbers()).useConnection(async ({ messages }) => {
    await t.throwsAsync(messages.send(NaN), { code: 'ERR_CIO_ENCODE' })
    await messages.send(7)
  })
  const server = await serve(t, app)
  t.is(await readAll(await dial(t, server)), '7;')
})

test('a missing option is rejected when it is created', (t) => {
  t.throws(() => codec({ encode: String } as never), { code: 'ERR_CIO_OPTION', message: /decode/ })
  t.throws(() => codec({ decode: String } as never), { code: 'ERR_CIO_OPTION', message: /encode/ })
})

const withZod = z.object({ id: z.number(), name: z.string().default('nobody') })
const withValibot = v.object({ id: v.number(), name: v.optional(v.string(), 'nobody') })
const withArktype = type({ id: 'number', name: "string = 'nobody'" })
const withAsync = v.pipeAsync(
  v.objectAsync({ id: v.number(), name: v.optional(v.string(), 'nobody') }),
  v.checkAsync(async ({ id }) => Promise.resolve(id < 100), 'id: too large'),
)

for (const [name, validate] of Object.entries({
  withZod,
  withValibot,
  withArktype,
  withAsync,
})) {
  test(`messages are typed by a schema and rejected if they do not satisfy it, ${name}`, async (t) => {
    for (const way of ['iterate', 'each'] as const) {
      const received: { id: number; name: string }[] = []
      const app = new Cio()
        .useConnection(json({ validate }))
        .useConnection(async ({ messages }) => {
          if (way === 'each') return messages.each((message) => received.push(message))
          for await (const message of messages) {
            expectTypeOf(message).toEqualTypeOf<{ id: number; name: string }>()
            received.push(message)
          }
        })
      const told = once(app, 'remoteError')
      const server = await serve(t, app)
      ;(await dial(t, server)).end('{"id":1}\n{"id":2,"name":"b"}\n{"id":"3"}\n{"id":4}\n')
      const [error] = await told
      t.is(error.code, 'ERR_CIO_INVALID_MESSAGE')
      t.deepEqual(received, [
        { id: 1, name: 'nobody' },
        { id: 2, name: 'b' },
      ])
    }
  })
}

test('a custom codec is validated and typed like any other', async (t) => {
  const schema = z.object({ n: z.number() })
  const own = codec({
    encode: (value: { n: number }) => JSON.stringify(value),
    decode: (frame) => JSON.parse(frame.toString()) as unknown,
    length: 1,
    validate: schema,
  })
  const app = new Cio().useConnection(own).useConnection(async ({ messages }) => {
    const { value } = await messages.next()
    expectTypeOf(value).toEqualTypeOf<{ n: number } | undefined>()
    await messages.send({ n: value!.n + 1 })
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  socket.end('\x07{"n":1}')
  t.is(await readAll(socket), '\x07{"n":2}')
})
