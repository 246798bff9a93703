import { isUtf8 } from 'node:buffer'
import { CioError } from '../src/errors.ts'
import { LineDecoder, syntaxError } from '../src/messages/frame-decoder.ts'
import { defaultMaxLength } from '../src/messages/codec.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  messages,
  messagesOptionNames,
} from '../src/messages/messages.ts'
import { checkOptionNames } from '../src/options.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Options of {@link lines}. */
export interface LinesOptions extends MessagesOptions<string> {}

/** What {@link lines} adds. */
export interface LinesContext extends MessagesContext<string> {}

/**
 * Adds text lines as messages: newline-delimited UTF-8.
 *
 * Lines end with `\n` or `\r\n`; the message does not include it. An empty line is a message, and
 * so is the text after the last line feed at the end of the input. Cio adds `\n` to a line that you
 * send.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_MESSAGE_TOO_LONG` (remote): a line is longer than `maxLength`;
 *   `ERR_CIO_SYNTAX` (remote): a line is not UTF-8; `ERR_CIO_INVALID_MESSAGE` (remote): it does not
 *   satisfy `validate`; `ERR_CIO_ENCODE` (local): the line to send contains a line feed
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio, lines } from 'cio'
 *
 * const app = new Cio().useConnection(lines()).useConnection(async (ctx) => {
 *   for await (const line of ctx.messages) await ctx.messages.send(line.toUpperCase())
 * })
 * const server = await app.listen(0)
 * await server.close()
 */
export function lines(options: LinesOptions = {}): Middleware<StreamContext, LinesContext> {
  checkOptionNames('lines', options, messagesOptionNames)
  const { maxLength = defaultMaxLength } = options
  return messages<string>(
    {
      name: 'lines',
      encoder: () => encodeLine,
      decoder: () => new LineDecoder('lines', maxLength, (line) => line),
      bordered: { maxLength, encoder: () => checkedLine, decoder: () => wholeLine },
    },
    options,
  )
}

/** Rejects a line feed within a line: untrusted text could inject a second line. */
function checkedLine(line: string): string {
  if (typeof line === 'string' && !line.includes('\n')) return line
  const what =
    typeof line === 'string'
      ? 'contains a line feed'
      : `is not a string, but of type ${typeof line}`
  throw new CioError('ERR_CIO_ENCODE', `lines: the line to send ${what}`)
}

function encodeLine(line: string): string {
  return `${checkedLine(line)}\n`
}

/**
 * The line in a message with borders. Its line end is optional. Cio refuses a second line, for the
 * reason above.
 */
function wholeLine(bytes: Buffer, isText: boolean, at: number): string {
  const text = bytes.toString()
  if (!isText && !isUtf8(bytes)) throw syntaxError('lines', 'is not UTF-8', at, text)
  const line = text.replace(/\r?\n$/, '')
  if (line.includes('\n')) throw syntaxError('lines', 'contains a line feed', at, text)
  return line
}

export { lines as default }
