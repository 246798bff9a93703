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

/** What {@link frames} adds. */
export interface FramesContext<Message = Buffer> extends MessagesContext<
  Message,
  string | Uint8Array
> {}

/**
 * Makes messages of frames of bytes: by length, by delimiter, or of one size.
 *
 * A message is a `Buffer`, without its length or delimiter. It is a view of the chunk that it came
 * in, so nothing is copied, and a frame that is kept keeps its chunk (up to 64 KiB, of other frames
 * too) in memory: keep `Buffer.from(frame)` instead. Only a frame that came in pieces is put
 * together in memory of its own. Strings are sent as UTF-8.
 *
 * A length above `maxLength` is refused as soon as it is read, before any memory is set aside.
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
      // Of another type only by `validate`, which makes it so.
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
