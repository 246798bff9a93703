/** Adapts foreign streams to streams of `Buffer`. */

import type { Duplex } from 'node:stream'
import { StackLayer } from './stack-layer.ts'
import { optionError } from '../options.ts'

/**
 * A stream of `Buffer` from one of `Uint8Array`, such as a stream in object mode that was made from
 * web streams. Other streams are returned unchanged.
 *
 * @throws `ERR_CIO_OPTION`: an encoding is set, so the original bytes are lost
 */
export function byteStream(owner: string, option: string, stream: Duplex): Duplex {
  if (typeof stream?.pipe !== 'function' || typeof stream.write !== 'function') {
    throw optionError(owner, option, 'a Duplex', stream)
  }
  if (stream.readableEncoding) {
    const rule = 'a stream of bytes, without `setEncoding()`'
    throw optionError(owner, option, rule, stream.readableEncoding)
  }
  return stream.readableObjectMode ? new StackLayer(stream) : stream
}
