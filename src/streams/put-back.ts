/** Puts a chunk back into a stream, before the bytes that the stream still holds. */

import type { Duplex } from 'node:stream'

interface WithState {
  readonly _readableState?: { readonly fastChunk?: unknown }
}

/**
 * Makes a stream ready for `unshift()` in its event `data`.
 *
 * With a synchronous source, Node 26 takes the next chunk out of the buffer before it emits `data`
 * for the last one. `unshift()` in that event then puts its chunk behind the taken one. If the
 * stream flows on, it also breaks the count of bytes, and a later read throws. So this function
 * reads first; that puts the taken chunk back.
 */
export function readyForPutBack(stream: Duplex): void {
  if ((stream as unknown as WithState)._readableState?.fastChunk != null) stream.read(0)
}

/** Puts a chunk back, so that the next read begins with it. */
export function putBack(stream: Duplex, chunk: Buffer): void {
  readyForPutBack(stream)
  stream.unshift(chunk)
}
