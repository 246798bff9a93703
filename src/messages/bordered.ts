/** Messages without framing, over a carrier that keeps their borders. */

import type { Borders } from '../streams/borders.ts'
import type { BorderedCodec, Decoder } from './codec.ts'
import { messageTooLong, syntaxError, truncatedMessage } from './frame-decoder.ts'
import { PartialMessage } from './partial-message.ts'

const empty = Buffer.alloc(0)
const shownBytes = 16

/** Cuts the bytes of a stream at the borders of its carrier. */
export class BorderedDecoder<In> implements Decoder<In> {
  readonly remainder: PartialMessage = new PartialMessage()
  readonly #owner: string
  readonly #borders: Borders
  readonly #maxLength: number
  readonly #decode: ReturnType<BorderedCodec<In>['decoder']>
  /** The position of the next byte in the stream. */
  #at: number

  constructor(
    owner: string,
    borders: Borders,
    maxLength: number,
    decode: ReturnType<BorderedCodec<In>['decoder']>,
  ) {
    this.#owner = owner
    this.#borders = borders
    this.#maxLength = maxLength
    this.#decode = decode
    this.#at = borders.read()
  }

  decode(chunk: Buffer, into: In[]): void {
    if (this.remainder.length === 0) this.#handEmpty(into)
    for (let bytes = chunk; bytes.length > 0;) {
      const { end = this.#at + bytes.length, isText = false, isEmpty } = this.#borders.next ?? {}
      const size = end - this.#at
      const held = this.remainder.length
      if (held + size > this.#maxLength) {
        const begins = bytes.subarray(0, shownBytes)
        throw messageTooLong(this.#owner, this.#maxLength, held + size, begins)
      }
      if (bytes.length < size) {
        this.remainder.append(bytes)
        this.#at += bytes.length
        return
      }
      // Most chunks are one message, which needs no views.
      const isWhole = bytes.length === size
      const content = this.remainder.take(isWhole ? bytes : bytes.subarray(0, size))
      this.#borders.shift()
      this.#at = end
      this.#hand(isEmpty ? empty : content, isText, into)
      bytes = isWhole ? empty : bytes.subarray(size)
      this.#handEmpty(into)
    }
  }

  end(into: In[]): void {
    const { length } = this.remainder
    if (length > 0) throw truncatedMessage(this.#owner, length)
    this.#handEmpty(into)
  }

  /** The empty messages that came before anything was read. The stream has no byte for these. */
  #handEmpty(into: In[]): void {
    for (let next; (next = this.#borders.next) && next.end === this.#at;) {
      this.#borders.shift()
      this.#hand(empty, next.isText, into)
    }
  }

  #hand(content: Buffer, isText: boolean, into: In[]): void {
    const message = this.#decode(content, isText, this.#at - content.length)
    if (message !== undefined) into.push(message)
  }
}

/** Reads exactly one value of a message, by a decoder that reads any number from a stream. */
export function oneValue<In>(owner: string, decoder: Decoder<In>): (bytes: Buffer) => In {
  return (bytes) => {
    const values: In[] = []
    decoder.decode(bytes, values)
    const isWhole = decoder.remainder.length === 0
    if (isWhole && values.length === 1) return values[0]!
    const what = isWhole ? `has ${values.length} values instead of one` : 'is cut off'
    throw syntaxError(owner, what, 0, bytes.toString('hex', 0, shownBytes))
  }
}
