/** Whether anything reads a stream, and how far it has been read. */

import type { Duplex } from 'node:stream'
import { putBack } from './put-back.ts'

/** Whether the application reads a stream. */
export function isRead(stream: Duplex): boolean {
  return stream.listenerCount('data') > 0 || stream.listenerCount('readable') > 0
}

/** Whether a stream has listeners or pipes of the application. */
export function isAttached(stream: Duplex): boolean {
  return isRead(stream) || stream.listenerCount('unpipe') > 0
}

interface WithState {
  readonly _readableState?: { readonly ended: boolean; dataEmitted: boolean }
}

/** Whether the end of input has arrived. Node emits `end` only later, when everything was read. */
export function hasInputEnded(stream: Duplex): boolean {
  return (stream as WithState)._readableState?.ended === true
}

/**
 * Whether this side destroyed one of the layers of a connection, and the other side had not ended: a
 * stream whose other side is gone has an end of input, or an error.
 */
export function isEndedHere(...layers: (Duplex | null | undefined)[]): boolean {
  const isDestroyed = layers.some((one) => one?.destroyed)
  return isDestroyed && !layers.some((one) => one && hasInputEnded(one))
}

/** Puts bytes back for the application, as if nothing had read the stream. */
export function leaveUnread(stream: Duplex, bytes: Buffer): void {
  if (bytes.length > 0) putBack(stream, bytes)
  const { _readableState: state } = stream as WithState
  if (state) state.dataEmitted = false
}

/** Whether the end of input has arrived behind bytes that nothing has read. */
export function hasUnreadEnd(stream: Duplex): boolean {
  return hasInputEnded(stream) && stream.readableLength > 0 && !stream.destroyed
}

/** Whether a stream was read to its end, or was never read. */
export function isIdle(stream: Duplex): boolean {
  return stream.readableEnded || !(stream.readableDidRead || isAttached(stream))
}

/** Whether a stream is destroyed, or has been read to its end. */
export function isOver(stream: Duplex | undefined): boolean {
  return stream !== undefined && (stream.destroyed || stream.readableEnded)
}
