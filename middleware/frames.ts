import { type FramingOptions, framesOf, framingOptionNames } from '../src/messages/frame-formats.ts'
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

/** Options of {@link frames}. */
export type FramesOptions<Message = Buffer> = FramingOptions & MessagesOptions<Message>

/** The context that {@link frames} adds. */
export interface FramesContext<Message = Buffer> extends MessagesContext<
  Message,
  string | Uint8Array
> {}

/**
 * Length-prefixed framing; also by delimiter, size, byte stuffing or a function.
 *
 * One option defines how a frame ends: `length`, `delimiter`, `size`, `stuffing`, `measure` or
 * `oneOf`. `start`, `end` and `checksum` define the bytes around its body. A message is the body,
 * or the whole frame with `whole`.
 *
 * A message is a `Buffer`, a view of the received chunk, so Cio copies nothing. A frame that you
 * keep holds its whole chunk (up to 64 KiB, with other frames) in memory: keep `Buffer.from(frame)`
 * instead. Cio copies a frame only if it arrives in several chunks or has escaped bytes. Strings
 * are sent as UTF-8.
 *
 * Cio rejects a length above `maxLength` as soon as it reads it, before it allocates memory. Before
 * it sends a frame, Cio reads it by the same options, and refuses it if the result is not this
 * message.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_MESSAGE_TOO_LONG` (remote): a frame is longer than `maxLength`;
 *   `ERR_CIO_TRUNCATED` (remote): the input ended within a frame; `ERR_CIO_SYNTAX` (remote): a
 *   mark, a length, an escape or a checksum of a frame is wrong; `ERR_CIO_FRAME_TIMEOUT` (remote):
 *   nothing came for `gapTimeout` within a frame; `ERR_CIO_INVALID_MESSAGE` (remote): a frame does
 *   not satisfy `validate`; `ERR_CIO_ENCODE` (local): a message to send has no frame that would be
 *   read as this message
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range, or options cannot be combined
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
  checkOptionNames('frames', options, [...framingOptionNames, ...messagesOptionNames])
  const { maxLength = defaultMaxLength } = options
  const { wrap, decoder } = framesOf('frames', maxLength, options)
  return messages<Message, string | Uint8Array>(
    {
      name: 'frames',
      encoder: () => wrap,
      // The type differs only with `validate`, which converts the message.
      decoder: (ctx) => decoder(ctx, (frame) => frame as Message),
    },
    options,
  )
}

export { frames as default }
