import { FrameDecoder } from '../src/messages/frame-decoder.ts'
import { type FramingOptions, framesOf } from '../src/messages/frame-formats.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  defaultMaxLength,
  messages,
} from '../src/messages/messages.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** Options of {@link frames}. */
export interface FramesOptions<Message = Buffer> extends FramingOptions, MessagesOptions<Message> {}

/** The context that {@link frames} adds. */
export interface FramesContext<Message = Buffer> extends MessagesContext<
  Message,
  string | Uint8Array
> {}

/**
 * Length-prefixed framing; also frames by delimiter or of a fixed size.
 *
 * A message is a `Buffer`, without its length or delimiter. It is a view of the received chunk, so
 * Cio copies nothing. A frame that you keep holds its whole chunk (up to 64 KiB, with other frames)
 * in memory: keep `Buffer.from(frame)` instead. Cio copies only a frame that arrives in several
 * chunks. Strings are sent as UTF-8.
 *
 * Cio rejects a length above `maxLength` as soon as it reads it, before it allocates memory.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_MESSAGE_TOO_LONG` (remote): a frame is longer than `maxLength`;
 *   `ERR_CIO_TRUNCATED` (remote): the input ended within a frame; `ERR_CIO_SYNTAX` (remote): a varint
 *   has more than five bytes; `ERR_CIO_INVALID_MESSAGE` (remote): a frame does not satisfy
 *   `validate`; `ERR_CIO_ENCODE` (local): a frame to send contains the delimiter, is not of `size`,
 *   or its length does not fit
 * @throws `ERR_CIO_OPTION`: an option is out of its range, or two exclude each other
 *
 * @example
 * import { Cio, frames } from 'cio'
 *
 * const app = new Cio().useConnection(frames({ length: 2 })).useConnection(async (ctx) => {
 *   for await (const frame of ctx.messages) await ctx.messages.send(frame)
 * })
 * const server = await app.listen(0)
 * await server.close()
 */
export function frames<Message = Buffer>(
  options: FramesOptions<Message> = {},
): Middleware<StreamContext, FramesContext<Message>> {
  const { maxLength = defaultMaxLength } = options
  const { wrap, framing } = framesOf('frames', maxLength, options)
  return messages<Message, string | Uint8Array>(
    {
      name: 'frames',
      encoder: () => wrap,
      // The type differs only with `validate`, which converts the message.
      decoder: () =>
        new FrameDecoder(
          'frames',
          framing((frame) => frame as Message),
        ),
    },
    options,
  )
}

export { frames as default }
