/** Putting a chunk back into a stream, before what it still holds. */

import type { Duplex } from 'node:stream'

interface WithState {
  readonly _readableState: { readonly fastChunk?: unknown }
}

/**
 * Puts a chunk back, so that the next read begins with it.
 *
 * Node 26 takes the next chunk of a synchronous source out of the buffer before it emits `data` for the
 * last one, and `unshift()` in that event puts its chunk behind it. A read puts the taken one back first.
 */
export function putBack(stream: Duplex, chunk: Buffer): void {
  if ((stream as unknown as WithState)._readableState.fastChunk != null) stream.read(0)
  stream.unshift(chunk)
}
