import { CioError, isCioError } from '../src/errors.ts'
import { syntaxError } from '../src/messages/frame-decoder.ts'
import { type FramingOptions, framesOf, framingOptionNames } from '../src/messages/frame-formats.ts'
import { defaultMaxLength } from '../src/messages/codec.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  messages,
  messagesOptionNames,
} from '../src/messages/messages.ts'
import type { Middleware } from '../src/pipeline/middleware.ts'
import { checkOptionNames, optionError } from '../src/options.ts'
import { atOnce } from '../src/thenable.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'

/** The two functions of {@link codec}. */
export interface CodecFunctions<Decoded, Out> {
  /** Serializes a message to bytes, without the framing; a string is written as UTF-8. */
  readonly encode: (message: Out) => string | Uint8Array
  /** Parses the bytes of one frame, which are a view of the received chunk. */
  readonly decode: (frame: Buffer) => Decoded
}

/** Options of {@link codec}: its two functions, those of a frame format, and those of all codecs. */
export type CodecOptions<Decoded, Out, In = Decoded> = CodecFunctions<Decoded, Out> &
  FramingOptions &
  MessagesOptions<In>

/** The context that {@link codec} adds. */
export interface CodecContext<In, Out = In> extends MessagesContext<In, Out> {}

const shownBytes = 16

/**
 * Custom codec: serializes messages by two functions, over any framing.
 *
 * The functions receive whole frames; the framing, its options and its limits are those of
 * `frames`. All connections share the functions, so they must keep no state between calls. An error
 * of `decode` is the peer's fault, an error of `encode` is local.
 *
 * Every codec of Cio keeps one contract. A library never sees bytes that the scanner in front of it
 * did not understand. The cost is linear in the received bytes, wherever they are split. An
 * incomplete message takes at most three times its bytes of memory (`jsonStream`: twelve times).
 * Each message is delivered with its last byte. You are responsible for the time and memory of
 * `decode`.
 *
 * @pipelines connection, client
 * @order after `secure`, before what reads `ctx.messages`
 * @adds `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (remote): `decode` threw, with the thrown value as `cause`;
 *   `ERR_CIO_MESSAGE_TOO_LONG` (remote): a frame is longer than `maxLength`; `ERR_CIO_TRUNCATED`
 *   (remote): the input ended within a frame; `ERR_CIO_FRAME_TIMEOUT` (remote): nothing came for
 *   `gapTimeout` within a frame; `ERR_CIO_INVALID_MESSAGE` (remote): a message does not satisfy
 *   `validate`; `ERR_CIO_ENCODE` (local): `encode` threw, or its result does not fit the framing
 * @throws `ERR_CIO_OPTION`: an option is missing, unknown or out of its range, or options cannot be
 * combined
 *
 * @example
 * import { Cio, codec } from 'cio'
 * import { deserialize, serialize } from 'node:v8'
 *
 * const v8 = () => codec<unknown, unknown>({ encode: serialize, decode: deserialize, length: 4 })
 * const app = new Cio().useConnection(v8()).useConnection(async (ctx) => {
 *   for await (const message of ctx.messages) await ctx.messages.send({ echo: message })
 * })
 * const server = await app.listen(0)
 * await server.close()
 */
export function codec<Decoded, Out = Decoded, In = Decoded>(
  options: CodecOptions<Decoded, Out, In>,
): Middleware<StreamContext, CodecContext<In, Out>> {
  const known = ['encode', 'decode', ...framingOptionNames, ...messagesOptionNames]
  checkOptionNames('codec', options, known)
  const { encode, decode, maxLength = defaultMaxLength } = options
  for (const [name, given] of Object.entries({ encode, decode })) {
    if (typeof given !== 'function') throw optionError('codec', name, 'a function', given)
  }
  const { wrap, decoder } = framesOf('codec', maxLength, options)

  const decodeFrame = (frame: Buffer, at: number): In => {
    try {
      // The type differs only with `validate`, which converts the message.
      return atOnce('codec', 'decode', decode(frame)) as unknown as In
    } catch (cause) {
      if (isCioError(cause)) throw cause
      const shown = frame.toString('hex', 0, shownBytes)
      throw syntaxError('codec', 'cannot be decoded', at, shown, cause)
    }
  }
  const encodeContent = (message: Out): string | Uint8Array => {
    try {
      return atOnce('codec', 'encode', encode(message))
    } catch (cause) {
      if (isCioError(cause)) throw cause
      throw new CioError('ERR_CIO_ENCODE', 'codec: `encode` threw', { cause })
    }
  }
  const encodeFrame = (message: Out): Buffer => wrap(encodeContent(message))
  const encodeBordered = (message: Out): string | Uint8Array => {
    const content: unknown = encodeContent(message)
    if (typeof content === 'string' || content instanceof Uint8Array) return content
    const what = `neither bytes nor a string: ${typeof content}`
    throw new CioError('ERR_CIO_ENCODE', `codec: the message is ${what}`)
  }
  return messages<In, Out>(
    {
      name: 'codec',
      encoder: () => encodeFrame,
      decoder: (ctx) => decoder(ctx, decodeFrame),
      bordered: {
        maxLength,
        encoder: () => encodeBordered,
        decoder: () => (bytes, _isText, at) => decodeFrame(bytes, at),
      },
    },
    options,
  )
}

export { codec as default }
