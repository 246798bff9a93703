/** A codec: decodes bytes to messages, and encodes messages to bytes. */

import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { PartialMessage } from './partial-message.ts'

/** The default of a codec's `maxLength`, in bytes. */
export const defaultMaxLength: number = 1024 * 1024

/** Turns bytes into messages, for one connection. */
export interface Decoder<In> {
  /** The bytes of an incomplete message. */
  readonly remainder: PartialMessage
  /**
   * Adds the messages that a chunk completes. Messages added before it throws are delivered first.
   */
  decode(chunk: Buffer, into: In[]): void
  /** Adds the messages that the end of input completes. */
  end(into: In[]): void
  /**
   * Called when nothing more will be read, perhaps more than once. For a decoder that has a timer.
   */
  close?(): void
}

/**
 * The form of a codec for a carrier that keeps message borders, such as a WebSocket: it makes and
 * reads the content of one message, without framing.
 */
export interface BorderedCodec<In, Out = In> {
  /** Maximum bytes of a received message. */
  readonly maxLength: number
  /** As that of {@link Codec}. A string is sent as text, bytes as binary. */
  readonly encoder: () => (message: Out) => string | Uint8Array
  /**
   * One for each connection. It makes a message of the bytes, or returns undefined to ignore them.
   * `at` is the position of the first byte in the stream, for errors.
   */
  readonly decoder: (
    ctx: StreamContext,
  ) => (bytes: Buffer, isText: boolean, at: number) => In | undefined
}

/** The two directions of a codec. */
export interface Codec<In, Out = In> {
  /** The name of its middleware, for errors. */
  readonly name: string
  /**
   * One for each connection: it may have state that the peer shares. Cio sends everything that it
   * returns, in that order. It throws `ERR_CIO_ENCODE` (local) for a message that it cannot encode.
   *
   * If every connection gets the same function, the codec has no state, and `messages.encode()`
   * encodes once for many connections.
   */
  readonly encoder: () => (message: Out) => string | Uint8Array
  /** One for each connection: it holds incomplete messages between chunks. */
  readonly decoder: (ctx: StreamContext) => Decoder<In>
  /**
   * The form for a carrier that keeps message borders. Without it, the codec writes and reads a
   * stream of bytes there too.
   */
  readonly bordered?: BorderedCodec<In, Out>
}
