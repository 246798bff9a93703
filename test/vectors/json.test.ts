/** What `json`, `jsonStream` and `rpc` make of the texts of RFC 8259, whole and cut at every byte. */

import test, { type ExecutionContext } from 'ava'
import { Duplex } from 'node:stream'
import { jsonStream } from '../../middleware/json-stream.ts'
import {
  Cio,
  type MessagesContext,
  type Middleware,
  type StreamContext,
  json,
  rpc,
} from '../../src/index.ts'
import { everyCut } from '../support/every-cut.ts'
import { receiveHere } from '../support/receive.ts'
import * as texts from './json-texts.ts'

type JsonCodec = Middleware<StreamContext, MessagesContext<unknown, unknown>>

/** Checks that a codec reads the same from this input, wherever it is cut. */
async function reads(
  t: ExecutionContext,
  codec: JsonCodec,
  input: string | Buffer,
  expected: { readonly messages: readonly unknown[]; readonly codes: readonly unknown[] },
): Promise<void> {
  const shown = JSON.stringify(input.toString().slice(0, 80))
  for (const pieces of everyCut(Buffer.from(input))) {
    const { messages, error } = await receiveHere(codec, pieces)
    const at = `${shown} in ${pieces.length}, the first of ${pieces[0]?.length} bytes`
    t.deepEqual(messages, [...expected.messages], at)
    t.true(expected.codes.includes(error?.code), `${error?.code}: ${at}`)
    if (error) t.is(error.fault, 'remote', at)
  }
}

const fine = [undefined]
// A text that ends too early is truncated in a stream, and not JSON on its line.
const refused = ['ERR_CIO_SYNTAX', 'ERR_CIO_TRUNCATED']

test('json reads each text that is JSON', async (t) => {
  for (const [text, value] of [...texts.valid, ...texts.ofTheParser]) {
    await reads(t, json(), `${text}\n`, { messages: [value], codes: fine })
  }
})

test('json refuses each text that is not JSON, and nothing before it', async (t) => {
  const all = [
    ...texts.invalid,
    ...texts.invalidAfterValue,
    ...texts.invalidOnOneLine.map(([text]) => text),
  ]
  for (const text of all) {
    await reads(t, json(), `1\n${text}\n2\n`, { messages: [1], codes: ['ERR_CIO_SYNTAX'] })
  }
})

test('jsonStream reads each text that is JSON, and the next one after it', async (t) => {
  for (const [text, value] of [...texts.valid, ...texts.validOverLines, ...texts.ofTheParser]) {
    await reads(t, jsonStream(), text, { messages: [value], codes: fine })
    const two = Buffer.from(`${text} "next"`)
    t.deepEqual((await receiveHere(jsonStream(), [two])).messages, [value, 'next'], text)
  }
})

test('jsonStream refuses each text that is not JSON, and nothing before it', async (t) => {
  for (const text of texts.invalid) {
    await reads(t, jsonStream(), `1 ${text}`, { messages: [1], codes: refused })
  }
})

test('jsonStream delivers a value once, and refuses the rest that is not one', async (t) => {
  for (const text of texts.invalidAfterValue) {
    for (const pieces of everyCut(Buffer.from(text))) {
      const { messages, error } = await receiveHere(jsonStream(), pieces)
      t.true(refused.includes(error!.code), text)
      t.true(messages.length <= 1, text)
    }
  }
})

test('jsonStream reads values without white space between', async (t) => {
  for (const [text, values] of texts.invalidOnOneLine) {
    await reads(t, jsonStream(), text, { messages: values, codes: fine })
  }
})

test('json and jsonStream refuse bytes that are not UTF-8', async (t) => {
  for (const bytes of Object.values(texts.invalidUtf8)) {
    await reads(t, json(), Buffer.concat([bytes, Buffer.from('\n')]), {
      messages: [],
      codes: ['ERR_CIO_SYNTAX'],
    })
    await reads(t, jsonStream(), bytes, { messages: [], codes: refused })
  }
})

const echo = (): Cio =>
  new Cio()
    .useConnection(json())
    .useConnection(rpc({ methods: { echo: (params: unknown) => (params as unknown[])[0] } }))

/** The text that a server answers to this input. */
async function answer(app: Cio, pieces: readonly Buffer[]): Promise<unknown[]> {
  const written: Buffer[] = []
  const iterator = pieces.values()
  const stream = new Duplex({
    highWaterMark: 1,
    read() {
      const { done, value } = iterator.next()
      this.push(done ? null : value)
    },
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk)
      done()
    },
  })
  await app.handle(stream).closed
  const lines = Buffer.concat(written).toString().split('\n')
  return lines.filter(Boolean).map((line) => JSON.parse(line) as unknown)
}

const call = (params: string): string =>
  `{"jsonrpc":"2.0","id":7,"method":"echo","params":${params}}`

test('rpc passes each value that is JSON to its method, and its result back', async (t) => {
  for (const [text, value] of texts.valid) {
    const bytes = Buffer.from(`${call(`[${text}]`)}\n`)
    for (const pieces of everyCut(bytes, bytes.indexOf('params'))) {
      const result = JSON.parse(JSON.stringify(value)) as unknown
      t.deepEqual(await answer(echo(), pieces), [{ jsonrpc: '2.0', id: 7, result }], text)
    }
  }
})

test('rpc answers each text that is not JSON with a parse error, once', async (t) => {
  const all = [...texts.invalid, ...texts.invalidAfterValue]
  for (const text of all.filter((text) => !text.includes('\n'))) {
    for (const pieces of everyCut(Buffer.from(`${text}\n`))) {
      const answers = (await answer(echo(), pieces)) as { id: unknown; error: { code: number } }[]
      t.is(answers.length, 1, text)
      t.is(answers[0]!.id, null, text)
      t.is(answers[0]!.error.code, -32_700, text)
    }
  }
})

test('rpc answers each value that is JSON and no request with an invalid request', async (t) => {
  const noRequests = texts.valid.filter(([, value]) => !Array.isArray(value) || value.length === 0)
  for (const [text] of noRequests) {
    const answers = (await answer(echo(), [Buffer.from(`${text}\n`)])) as {
      error: { code: number }
    }[]
    t.is(answers.length, 1, text)
    t.is(answers[0]!.error.code, -32_600, text)
  }
})
