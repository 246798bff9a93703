import { isUtf8 } from 'node:buffer'
import { CioError } from '../src/errors.ts'
import { LineDecoder, type ParseLine, syntaxError } from '../src/messages/frame-decoder.ts'
import { defaultMaxLength } from '../src/messages/codec.ts'
import { isTooDeep, maxJsonDepth } from '../src/messages/json-nesting.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  messages,
  messagesOptionNames,
} from '../src/messages/messages.ts'
import { checkOptionNames } from '../src/options.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Options of {@link json}. */
export interface JsonOptions<Message = unknown> extends MessagesOptions<Message> {}

/** The context that {@link json} adds. */
export interface JsonContext<Message = unknown> extends MessagesContext<Message, unknown> {}

/**
 * Newline-delimited JSON (NDJSON, JSON Lines): one value a line.
 *
 * Cio skips empty lines, and a byte order mark at the beginning of the input. A key named
 * `__proto__` is an ordinary key of its object, as with `JSON.parse`. Do not merge messages of a
 * peer into other objects.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (remote): a line is not JSON, not UTF-8, or nested deeper than 1,000
 *   arrays and objects, with its offset;
 *   `ERR_CIO_MESSAGE_TOO_LONG` (remote): a line is longer than `maxLength`;
 *   `ERR_CIO_INVALID_MESSAGE` (remote): a message does not satisfy `validate`; `ERR_CIO_ENCODE`
 *   (local): a sent message cannot be serialized as JSON
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 * @see https://github.com/ndjson/ndjson-spec and RFC 8259
 *
 * @example
 * import { Cio, json } from 'cio'
 *
 * const app = new Cio().useConnection(json()).useConnection(async (ctx) => {
 *   for await (const message of ctx.messages) await ctx.messages.send({ echo: message })
 * })
 * const server = await app.listen(0)
 * await server.close()
 */
export function json<Message = unknown>(
  options: JsonOptions<Message> = {},
): Middleware<StreamContext, JsonContext<Message>> {
  checkOptionNames('json', options, messagesOptionNames)
  const { maxLength = defaultMaxLength } = options
  return messages<Message, unknown>(
    {
      name: 'json',
      encoder: () => encodeJson,
      decoder: () => new LineDecoder('json', maxLength, parseJson as ParseLine<Message>),
      bordered: {
        maxLength,
        encoder: () => toJson,
        decoder: () => (bytes, isText, at) => {
          const text = bytes.toString()
          if (!isText && !isUtf8(bytes)) throw syntaxError('json', 'is not UTF-8', at, text)
          return parseJson(text, () => at) as Message | undefined
        },
      },
    },
    options,
  )
}

const byteOrderMark = '\ufeff'
const notFirst = (): number => byteOrderMarkLength
const byteOrderMarkLength = 3

function parseJson(line: string, at: () => number): unknown {
  if (line.length === 0) return undefined
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    // Checked only after JSON.parse has failed, so that valid lines cost nothing more.
    if (line.startsWith(byteOrderMark) && at() === 0) return parseJson(line.slice(1), notFirst)
    // V8's own message quotes the input of the peer unescaped.
    throw syntaxError('json', 'is not JSON', at(), line)
  }
  if (!isTooDeep(line, value)) return value
  throw syntaxError('json', `is nested deeper than ${maxJsonDepth}`, at(), line)
}

function encodeJson(message: unknown): string {
  return `${toJson(message)}\n`
}

function toJson(message: unknown): string {
  let text: string | undefined
  try {
    text = JSON.stringify(message)
  } catch (cause) {
    throw new CioError('ERR_CIO_ENCODE', 'json: the message cannot be serialized as JSON', {
      cause,
    })
  }
  if (text !== undefined) return text
  throw new CioError('ERR_CIO_ENCODE', `json: a ${typeof message} cannot be serialized as JSON`)
}

export { json as default }
