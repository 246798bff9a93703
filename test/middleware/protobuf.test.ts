import { create, toBinary } from '@bufbuild/protobuf'
import {
  type StringValue,
  Int32ValueSchema,
  StringValueSchema,
  StructSchema,
} from '@bufbuild/protobuf/wkt'
import test from 'ava'
import { execFileSync } from 'node:child_process'
import { expectTypeOf } from 'expect-type'
import fc from 'fast-check'
import { once } from 'node:events'
import { protobuf } from '../../middleware/protobuf.ts'
import { Cio } from '../../src/index.ts'
import { codecContract } from '../contracts/codec.ts'
import { receive } from '../support/receive.ts'
import { dial, serve } from '../support/serve.ts'

/** A number as a varint. */
function varint(number: number): Buffer {
  const bytes: number[] = []
  let rest = number
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  return Buffer.from([...bytes, rest])
}

const delimited = (bytes: Uint8Array): Buffer => Buffer.concat([varint(bytes.length), bytes])
const text = (value: string): StringValue => create(StringValueSchema, { value })

codecContract<StringValue>(test, {
  codec: (options) => protobuf(StringValueSchema, options) as never,
  arbitrary: fc.string({ unit: 'grapheme', maxLength: 20 }).map(text),
  // A tag, and the length of the text.
  ofLength: (bytes) => text('x'.repeat(bytes - 1 - varint(bytes - 3).length)),
  encode: (message) => delimited(toBinary(StringValueSchema, message)),
  truncated: 'ERR_CIO_TRUNCATED',
})

test('each direction may have its own schema, which gives the types', async (t) => {
  const app = new Cio()
    .useConnection(protobuf({ receives: StringValueSchema, sends: Int32ValueSchema }))
    .useConnection(async ({ messages }) => {
      for await (const { value } of messages) {
        expectTypeOf(value).toEqualTypeOf<string>()
        await messages.send({ value: value.length })
        // @ts-expect-error: a number is sent
        await t.throwsAsync(messages.send({ value: 'text' }), { code: 'ERR_CIO_ENCODE' })
        await t.throwsAsync(messages.send({ value: 2 ** 40 }), { code: 'ERR_CIO_ENCODE' })
      }
    })
    .useClient(protobuf({ receives: Int32ValueSchema, sends: StringValueSchema }))
  const server = await serve(t, app)
  const client = await app.connect(server.port)
  await client.messages.send({ value: 'hello' })
  await client.messages.send(text('hi'))
  await client.messages.end()
  const lengths: number[] = []
  for await (const { value } of client.messages) lengths.push(value)
  t.deepEqual(lengths, [5, 2])
})

test('any frame format of frames carries the messages', async (t) => {
  const bytes = Buffer.from(toBinary(StringValueSchema, text('hello')))
  const chunk = Buffer.concat([Buffer.from([0, bytes.length]), bytes])
  const codec = protobuf(StringValueSchema, { length: 2 }) as never
  const { messages, error } = await receive(t, codec, [chunk, chunk])
  t.is(error, undefined)
  t.deepEqual(messages, [text('hello'), text('hello')])
})

test('protoc reads what is sent, as fields of the same numbers', async (t) => {
  const app = new Cio()
    .useConnection(protobuf(StringValueSchema))
    .useConnection(({ messages }) => messages.send({ value: 'grüße' }))
  const server = await serve(t, app)
  const socket = await dial(t, server)
  const [chunk] = (await once(socket, 'data')) as [Buffer]
  let raw: string
  try {
    raw = execFileSync('protoc', ['--decode_raw'], { input: chunk.subarray(1), encoding: 'utf8' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    t.log('skipped: protoc is not installed')
    t.pass()
    return
  }
  t.is(raw.trim(), String.raw`1: "gr\303\274\303\237e"`)
})

const deep = (levels: number): Buffer => {
  // A list value in a list value: Struct.fields.value.list_value.values…
  let bytes: Buffer = Buffer.alloc(0)
  for (let level = 0; level < levels; level++) {
    const list = Buffer.concat([Buffer.from([0x0a]), varint(bytes.length), bytes])
    bytes = Buffer.concat([Buffer.from([0x32]), varint(list.length), list])
  }
  const entry = Buffer.concat([Buffer.from([0x12]), varint(bytes.length), bytes])
  return Buffer.concat([Buffer.from([0x0a]), varint(entry.length), entry])
}

const hostile: Record<string, Buffer> = {
  'a tag without a field': Buffer.from([0x0a]),
  'a field number of 0': Buffer.from([0x02, 0x00]),
  'a wire type that does not exist': Buffer.from([0x0f]),
  'a text that is longer than its frame': Buffer.from([0x0a, 0x7f, 0x41]),
  'a length of 2^32 - 1': Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
  'a varint of eleven bytes': Buffer.from([0x08, ...Array.from({ length: 11 }, () => 0xff)]),
  'a text that is not UTF-8': Buffer.from([0x0a, 0x02, 0xc3, 0x28]),
  'a group that does not end': Buffer.from([0x13, 0x08, 0x01]),
  'ten thousand levels': deep(10_000),
}

for (const [name, bytes] of Object.entries(hostile)) {
  test(`hostile input ends its connection alone, after the messages before it: ${name}`, async (t) => {
    const schema = name === 'ten thousand levels' ? StructSchema : StringValueSchema
    const before = delimited(Buffer.alloc(0))
    const chunks = [before, delimited(bytes)]
    const { messages, error } = await receive(t, protobuf(schema) as never, chunks)
    t.is(messages.length, 1)
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.is(error?.fault, 'remote')
  })
}

test('a field named __proto__ changes no prototype', async (t) => {
  const entry = Buffer.concat([
    Buffer.from([0x0a, 9]),
    Buffer.from('__proto__'),
    Buffer.from([0x12, 2, 0x20, 1]),
  ])
  const bytes = Buffer.concat([Buffer.from([0x0a, entry.length]), entry])
  const { error } = await receive(t, protobuf(StructSchema) as never, [delimited(bytes)])
  t.true(error === undefined || error.code === 'ERR_CIO_SYNTAX')
  t.deepEqual(Object.keys(Object.prototype), [])
  t.false('kind' in {})
})

test('random bytes give messages or ERR_CIO_SYNTAX, and nothing else', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 60 }), async (bytes) => {
      const { error } = await receive(t, protobuf(StructSchema) as never, [delimited(bytes)])
      if (error) t.is(error.code, 'ERR_CIO_SYNTAX')
    }),
    { numRuns: 100 },
  )
})

test('a schema and the options are checked', (t) => {
  for (const schema of [undefined, {}, 'StringValue', { receives: StringValueSchema }]) {
    t.throws(() => protobuf(schema as never), { code: 'ERR_CIO_OPTION' })
  }
  for (const options of [{ length: 9 }, { validate: {} }, { lenght: 2 }, { length: 2, size: 3 }]) {
    t.throws(() => protobuf(StringValueSchema, options as never), { code: 'ERR_CIO_OPTION' })
  }
})
