/** Putting a chunk back into a stream, before what it still holds. */

import type { Duplex } from 'node:stream'

interface WithState {
  readonly _readableState?: { readonly fastChunk?: unknown }
}

/**
 * Makes a stream ready for `unshift()` in its event `data`.
 *
 * Node 26 takes the next chunk of a synchronous source out of the buffer before it emits `data` for the
 * last one, and `unshift()` in that event puts its chunk behind it, or, if the stream flows on, breaks
 * the count of bytes, so that a later read throws. A read puts the taken one back first.
 */
export function readyForPutBack(stream: Duplex): void {
  if ((stream as unknown as WithState)._readableState?.fastChunk != null) stream.read(0)
}

/** Puts a chunk back, so that the next read begins with it. */
export function putBack(stream: Duplex, chunk: Buffer): void {
  readyForPutBack(stream)
  stream.unshift(chunk)
}
