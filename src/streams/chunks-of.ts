/** Reads a stream and leaves it open. */

import type { Duplex } from 'node:stream'

/**
 * The chunks of a stream, until the end of input.
 *
 * Node's own iterator destroys the stream when the loop ends, so a half-closed client never gets
 * its answer. This one leaves it open, also after `break`.
 */
export function chunksOf(stream: Duplex): AsyncIterableIterator<Buffer> {
  return stream.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>
}
