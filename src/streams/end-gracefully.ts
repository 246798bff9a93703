/** Ending a stream gracefully, in bounded time. */

import type { Duplex } from 'node:stream'

/**
 * Ends a stream, lets what was written reach the peer, waits for the peer to end too, and destroys
 * it. What the peer still sends is thrown away: it would turn the end into a reset, which can
 * overtake the last reply.
 *
 * Fulfils with false if the time passed with something still unsent.
 *
 * @param timeout Milliseconds; `Infinity` waits for ever.
 */
export function endGracefully(stream: Duplex, timeout: number): Promise<boolean> {
  if (stream.destroyed) return Promise.resolve(true)
  stream.end()
  stream.resume()
  return new Promise((resolve) => {
    const close = (): void => {
      clearTimeout(timer)
      resolve(true)
    }
    const expire = (): void => {
      stream.off('close', close)
      resolve(stream.writableFinished)
      stream.destroy()
    }
    const timer = timeout === Infinity ? undefined : setTimeout(expire, timeout)
    stream.once('close', close)
  })
}
