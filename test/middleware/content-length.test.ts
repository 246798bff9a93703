import test from 'ava'
import { Cio, contentLength } from '../../src/index.ts'
import { codecContract, jsonValues } from '../contracts/codec.ts'
import { inLongForm } from '../support/long.ts'
import { receive } from '../support/receive.ts'
import { dial, readAll, serve } from '../support/serve.ts'

const framed = (content: string): Buffer =>
  Buffer.from(`Content-Length: ${Buffer.byteLength(content)}\r\n\r\n${content}`)

codecContract<unknown>(test, {
  codec: contentLength,
  arbitrary: jsonValues,
  ofLength: (bytes) => 'x'.repeat(bytes - 2),
  encode: (value) => framed(JSON.stringify(value)),
  truncated: 'ERR_CIO_TRUNCATED',
})

test('other headers, any case and any order are accepted', async (t) => {
  const type = 'Content-Type: application/vscode-jsonrpc; charset=utf-8\r\n'
  const input = `${type}content-length:1\r\n\r\n1CONTENT-LENGTH: \t 2 \r\n${type}\r\n22`
  t.deepEqual(await receive(t, contentLength(), input), { messages: [1, 22], error: undefined })
})

test('the length counts bytes, not characters', async (t) => {
  const { messages } = await receive(t, contentLength(), framed('"é€😀"'))
  t.deepEqual(messages, ['é€😀'])
})

for (const [what, header] of Object.entries({
  'no length': 'Content-Type: x',
  'two lengths': 'Content-Length: 1\r\nContent-Length: 2',
  'the same length twice': 'Content-Length: 1\r\nContent-Length: 1',
  'a negative length': 'Content-Length: -1',
  'a length in hexadecimal': 'Content-Length: 0x1',
  'a length with a sign': 'Content-Length: +1',
  'a length with more behind it': 'Content-Length: 1, 2',
  'nothing at all': '',
})) {
  test(`a header with ${what} ends the connection`, async (t) => {
    const { messages, error } = await receive(
      t,
      contentLength(),
      `Content-Length: 1\r\n\r\n1${header}\r\n\r\n22`,
    )
    t.deepEqual(messages, [1])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
  })
}

test('the length of a header that does not end is limited', async (t) => {
  const { error } = await receive(t, contentLength(), `X: ${'x'.repeat(5_000)}`)
  t.is(error?.code, 'ERR_CIO_SYNTAX')
})

test('a length above maxLength ends the connection before its content', async (t) => {
  const { error } = await receive(
    t,
    contentLength({ maxLength: 100 }),
    'Content-Length: 999999999999999\r\n\r\n',
  )
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('content that is not JSON or not UTF-8 is reported with its offset, and escaped', async (t) => {
  const before = framed('1')
  for (const content of [Buffer.from('{\u001b[31m'), Buffer.from([0x22, 0xff, 0x22])]) {
    const header = Buffer.from(`Content-Length: ${content.length}\r\n\r\n`)
    const { messages, error } = await receive(
      t,
      contentLength(),
      Buffer.concat([before, header, content]),
    )
    t.deepEqual(messages, [1])
    t.is(error?.code, 'ERR_CIO_SYNTAX')
    t.regex(error!.message, new RegExp(`at byte ${before.length} is not`))
    t.false(error!.message.includes('\u001b'))
  }
})

inLongForm(() => {
  test('the cost of content in a million pieces is linear in its bytes', async (t) => {
    // Quadratic work would take minutes.
    const content = JSON.stringify('x'.repeat(200_000))
    const app = new Cio().useConnection(contentLength()).useConnection(async (ctx) => {
      for await (const message of ctx.messages) await ctx.messages.send(String(message).length)
    })
    const socket = await dial(t, await serve(t, app))
    for (const byte of framed(content)) socket.write(Buffer.from([byte]))
    socket.end()
    t.is(await readAll(socket), framed('200000').toString())
  })
})

test('a message that JSON cannot represent is rejected and the connection stays open', async (t) => {
  const app = new Cio().useConnection(contentLength()).useConnection(async (ctx) => {
    for (const message of [undefined, () => 1, 1n]) {
      await t.throwsAsync(ctx.messages.send(message), { code: 'ERR_CIO_ENCODE' })
    }
    await ctx.messages.send('fine')
  })
  t.is(await readAll(await dial(t, await serve(t, app))), framed('"fine"').toString())
})

test('options out of range are rejected', (t) => {
  t.throws(() => contentLength({ maxLength: 0 }), { code: 'ERR_CIO_OPTION' })
})

test('a value is nested 1,000 deep at most, so that what is read can be sent', async (t) => {
  const nested = (depth: number): Buffer => framed(`${'['.repeat(depth)}${']'.repeat(depth)}`)
  t.is((await receive(t, contentLength(), nested(1_000))).messages.length, 1)
  const { error } = await receive(t, contentLength(), nested(1_001))
  t.like(error, { code: 'ERR_CIO_SYNTAX', fault: 'remote' })
  t.regex(error!.message, /is nested deeper than 1000/)
})
