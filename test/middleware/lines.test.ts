import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { Cio, lines } from '../../src/index.ts'
import { codecContract } from '../contracts/codec.ts'
import { receive } from '../support/receive.ts'
import { dial, readAll, serve } from '../support/serve.ts'

codecContract<string>(test, {
  codec: lines,
  arbitrary: fc
    .string({ unit: 'grapheme', maxLength: 40 })
    .filter((text) => !text.includes('\n') && !text.endsWith('\r')),
  ofLength: (bytes) => 'x'.repeat(bytes),
  encode: (line) => Buffer.from(`${line}\n`),
  truncated: undefined,
})

/** The lines that a server receives, and the code of the final error. */
async function linesOf(t: ExecutionContext, input: Buffer | string): Promise<string[]> {
  const { messages, error } = await receive(t, lines(), input)
  return error ? [...messages, error.code] : messages
}

test('a carriage return before a line feed belongs to the line ending, any other does not', async (t) => {
  t.deepEqual(await linesOf(t, 'a\r\nb\rc\r\r\n\r\n'), ['a', 'b\rc\r', ''])
})

test('empty lines are messages, and so is the rest at the end of input', async (t) => {
  t.deepEqual(await linesOf(t, '\n\na\n\nlast'), ['', '', 'a', '', 'last'])
})

test('a line that is not UTF-8 ends the connection after the lines before it', async (t) => {
  const input = Buffer.concat([
    Buffer.from('good\n'),
    Buffer.from([0xc3, 0x28]),
    Buffer.from('\nx\n'),
  ])
  t.deepEqual(await linesOf(t, input), ['good', 'ERR_CIO_SYNTAX'])
})

test('a character cut off by the end of input ends the connection', async (t) => {
  t.deepEqual(await linesOf(t, Buffer.from('é').subarray(0, 1)), ['ERR_CIO_SYNTAX'])
})

test('a line feed in a line to send is refused', async (t) => {
  const app = new Cio().useConnection(lines()).useConnection(async (ctx) => {
    await t.throwsAsync(ctx.messages.send('a\nb'), { code: 'ERR_CIO_ENCODE' })
    await ctx.messages.send('c')
  })
  const server = await serve(t, app)
  const socket = await dial(t, server)
  t.is(await readAll(socket), 'c\n')
})

test('an option out of its range is refused when the middleware is made', (t) => {
  t.throws(() => lines({ maxLength: 0 }), { code: 'ERR_CIO_OPTION', message: /maxLength/ })
})
