/** Streams that others bring, as streams of `Buffer`. */

import type { Duplex } from 'node:stream'
import { StackLayer } from './stack-layer.ts'
import { optionError } from '../options.ts'

/**
 * A stream that reads as `Buffer`, of one that may read as `Uint8Array`: streams in object mode do,
 * such as those that were made of web streams. Others are returned as they are.
 *
 * @throws `ERR_CIO_OPTION`: an encoding was set, and the bytes are lost
 */
export function byteStream(owner: string, option: string, stream: Duplex): Duplex {
  if (stream.readableEncoding) {
    const rule = 'a stream of bytes, without `setEncoding()`'
    throw optionError(owner, option, rule, stream.readableEncoding)
  }
  return stream.readableObjectMode ? new StackLayer(stream) : stream
}
