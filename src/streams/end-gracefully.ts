/** Ends a stream gracefully, within a time limit. */

import type { Duplex } from 'node:stream'
import { startDeadline } from '../deadline.ts'
import { SteppedDeadline } from './stepped-deadline.ts'

/** The default of `flushTimeout`, of servers and clients, in milliseconds. */
export const flushTimeout = 30_000

/** Options of `endGracefully()`. */
export interface FinishOptions {
  /**
   * Milliseconds that the other side may stay open after everything was sent.
   *
   * @default what is left of the time
   */
  readonly linger?: number
  /**
   * Destroys the stream at the deadline.
   *
   * @default `stream.destroy()`
   */
  readonly cut?: () => void
}

/**
 * Ends a stream, lets what was written reach the other side, waits for that side to end too, and
 * destroys the stream. It discards further input: unread input would turn the end into a reset,
 * which can overtake the last reply.
 *
 * Fulfils with false if the time passed before everything was sent.
 *
 * @param timeout Milliseconds; `Infinity` waits for ever.
 */
export function endGracefully(
  stream: Duplex,
  timeout: number,
  { linger = Infinity, cut }: FinishOptions = {},
): Promise<boolean> {
  if (stream.destroyed) return Promise.resolve(true)
  stream.end()
  stream.resume()
  return new Promise((resolve) => {
    const close = (): void => {
      deadline.stop()
      lingering?.stop()
      resolve(true)
    }
    const expire = (): void => {
      stream.off('close', close)
      deadline.stop()
      lingering?.stop()
      resolve(stream.writableFinished)
      if (cut && !stream.writableFinished) cut()
      stream.destroy()
    }
    const deadline = new SteppedDeadline(timeout, expire)
    let lingering: ReturnType<typeof startDeadline>
    stream.once('close', close)
    if (linger === Infinity) return
    const sent = (): void => {
      if (!stream.destroyed) lingering = startDeadline(linger, expire)
    }
    if (stream.writableFinished) sent()
    else stream.once('finish', sent)
  })
}
