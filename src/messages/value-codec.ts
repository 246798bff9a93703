/** The codec of values that follow one another without framing. */

import { oneValue } from './bordered.ts'
import type { Codec } from './codec.ts'
import { FrameDecoder, type Framing } from './frame-decoder.ts'
import { statefulEncoder } from './self-delimiting-values.ts'

/** A serialization library whose values need no framing. */
export interface ValueLibrary<In, Out> {
  /** Maximum bytes of a received value. */
  readonly maxLength: number
  /** Whether an encoder remembers what it has sent; if not, all connections share one. */
  readonly hasState: boolean
  /** Makes an encoder. */
  readonly encoder: () => (message: Out) => Uint8Array
  /** Makes what finds the values in the input of one connection, and decodes them. */
  readonly values: () => Framing<In>
}

/**
 * A codec over a serialization library, such as msgpackr.
 *
 * An encoder that threw is replaced: it may rely on something that was never sent. On a carrier with
 * borders, a message is exactly one value.
 *
 * @param name The name of its middleware, for errors.
 */
export function valueCodec<In, Out>(name: string, library: ValueLibrary<In, Out>): Codec<In, Out> {
  const { maxLength, hasState, values } = library
  const make = () => statefulEncoder(name, library.encoder)
  const shared = make()
  const encoder = hasState ? make : () => shared
  const decoder = (): FrameDecoder<In> => new FrameDecoder(name, values())
  const bordered = { maxLength, encoder, decoder: () => oneValue(name, decoder()) }
  return { name, encoder, decoder, bordered }
}
