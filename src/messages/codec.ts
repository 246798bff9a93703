/** What a codec is: how bytes become messages, and messages bytes. */

import type { StreamContext } from '../lifecycle/stream-context.ts'
import type { PartialMessage } from './partial-message.ts'

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
  /** Called when nothing more will be read, perhaps again: for a decoder that has a timer. */
  close?(): void
}

/** The two directions of a codec. */
export interface Codec<In, Out = In> {
  /** The name of its middleware, for errors. */
  readonly name: string
  /**
   * One for each connection: it may have state that the peer shares. Everything it returns is sent,
   * in that order. It throws `ERR_CIO_ENCODE` (local) for a message that it cannot encode.
   *
   * If every connection gets the same function, the codec has no state, and `messages.encode()`
   * encodes once for many connections.
   */
  readonly encoder: () => (message: Out) => string | Uint8Array
  /** One for each connection: it holds incomplete messages between chunks. */
  readonly decoder: (ctx: StreamContext) => Decoder<In>
}
