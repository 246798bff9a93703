/** A message that is encoded once, and sent to many connections. */

/** The parts of an encoded message, for `Messages`. */
export interface EncodedContent {
  /** The codec that encoded it, in its form for one kind of carrier. */
  readonly form: object
  /** The message itself, for a codec with state, and for interceptors. */
  readonly message: unknown
  /** Undefined if the codec has state: then each connection encodes the message. */
  readonly bytes: string | Uint8Array | undefined
  readonly size: number
}

/** Reads an encoded message; undefined if it is something else. */
export let contentOf: (encoded: unknown) => EncodedContent | undefined

/**
 * A message that `messages.encode()` has encoded, for `messages.sendEncoded()` of any connection
 * that has the same codec.
 *
 * "The same codec" means the same call of `json()` or another factory, since options may change the
 * bytes, and the same kind of carrier.
 */
export class Encoded {
  static {
    contentOf = (encoded) =>
      typeof encoded === 'object' && encoded !== null && #content in encoded
        ? encoded.#content
        : undefined
  }

  readonly #content: EncodedContent

  /** @internal */
  constructor(content: EncodedContent) {
    this.#content = content
  }

  /** Its bytes; with state in the codec, as many as a new connection would get. */
  get size(): number {
    return this.#content.size
  }
}
