import { isUtf8 } from 'node:buffer'
import { CioError } from '../src/errors.ts'
import {
  FrameDecoder,
  type Framing,
  syntaxError,
  messageTooLong,
} from '../src/messages/frame-decoder.ts'
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

/** Options of {@link contentLength}. */
export interface ContentLengthOptions<Message = unknown> extends MessagesOptions<Message> {}

/** The context that {@link contentLength} adds. */
export interface ContentLengthContext<Message = unknown> extends MessagesContext<
  Message,
  unknown
> {}

/**
 * JSON messages with a Content-Length header (LSP, DAP, vscode-jsonrpc).
 *
 * The base protocol of the Language Server and Debug Adapter Protocols, and of `vscode-jsonrpc`.
 * Cio ignores headers other than `Content-Length`; the content must be UTF-8.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (remote): the header has no length or is longer than 4 KiB, or the
 *   content is not JSON, not UTF-8, or nested deeper than 1,000 arrays and objects;
 *   `ERR_CIO_TRUNCATED` (remote): the input ended within a message; `ERR_CIO_MESSAGE_TOO_LONG`
 *   (remote): the length is above `maxLength`; `ERR_CIO_INVALID_MESSAGE` (remote): a message does not
 *   satisfy `validate`; `ERR_CIO_ENCODE` (local): a sent message cannot be serialized as JSON
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 * @see https://microsoft.github.io/language-server-protocol/specifications/base/0.9/specification/
 *
 * @example
 * import { Cio, contentLength, rpc } from 'cio'
 *
 * const app = new Cio()
 *   .useConnection(contentLength())
 *   .useConnection(rpc({ methods: { initialize: () => ({ capabilities: {} }) } }))
 * const server = await app.listen(0)
 * await server.close()
 */
export function contentLength<Message = unknown>(
  options: ContentLengthOptions<Message> = {},
): Middleware<StreamContext, ContentLengthContext<Message>> {
  checkOptionNames('contentLength', options, messagesOptionNames)
  const { maxLength = defaultMaxLength } = options
  return messages<Message, unknown>(
    {
      name: 'contentLength',
      encoder: () => encode,
      decoder: () => new FrameDecoder('contentLength', framing<Message>(maxLength)),
    },
    options,
  )
}

const owner = 'contentLength'
const headerEnd = Buffer.from('\r\n\r\n')
const maxHeaderLength = 4096

function framing<In>(maxLength: number): Framing<In> {
  /** How many bytes of the header have been searched. */
  let searchedBytes = 0
  return {
    end(bytes, start, offset) {
      const region = bytes.subarray(start, start + maxHeaderLength)
      // The searched part may end with the first bytes of the separator.
      const length = region.indexOf(headerEnd, Math.max(0, searchedBytes - headerEnd.length + 1))
      searchedBytes = length < 0 ? region.length : 0
      if (length >= 0) {
        const content = contentSize(region.subarray(0, length), maxLength, offset + start)
        return start + length + headerEnd.length + content
      }
      if (region.length < maxHeaderLength) return bytes.length + 1
      throw contentError('has a header that does not end', region, offset + start)
    },
    open(bytes, ends, into, offset) {
      let start = 0
      for (const end of ends) {
        const content = bytes.indexOf(headerEnd, start) + headerEnd.length
        into.push(parse(bytes.subarray(content, end), offset + start) as In)
        start = end
      }
    },
  }
}

function contentSize(header: Buffer, maxLength: number, at: number): number {
  const lengths = header
    .toString('latin1')
    .split('\r\n')
    .map((line) => /^content-length:[ \t]*(\d{1,15})[ \t]*$/i.exec(line)?.[1])
    .filter((length) => length !== undefined)
  // With two lengths, two parsers could see two different messages.
  if (lengths.length !== 1)
    throw contentError('does not have exactly one Content-Length', header, at)
  const length = Number(lengths[0])
  if (length > maxLength) throw messageTooLong(owner, maxLength, length, header)
  return length
}

function parse(content: Buffer, at: number): unknown {
  if (!isUtf8(content)) throw contentError('is not UTF-8', content, at)
  const text = content.toString()
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    // V8's own message quotes the input of the peer unescaped.
    throw contentError('is not JSON', content, at)
  }
  if (!isTooDeep(text, value)) return value
  throw contentError(`is nested deeper than ${maxJsonDepth}`, content, at)
}

function contentError(what: string, bytes: Buffer, at: number): CioError {
  return syntaxError(owner, what, at, bytes.toString())
}

function encode(message: unknown): string {
  let content: string | undefined
  try {
    content = JSON.stringify(message)
  } catch (cause) {
    const what = 'the message cannot be serialized as JSON'
    throw new CioError('ERR_CIO_ENCODE', `${owner}: ${what}`, { cause })
  }
  if (content === undefined) {
    throw new CioError(
      'ERR_CIO_ENCODE',
      `${owner}: a ${typeof message} cannot be serialized as JSON`,
    )
  }
  return `Content-Length: ${Buffer.byteLength(content)}\r\n\r\n${content}`
}

export { contentLength as default }
