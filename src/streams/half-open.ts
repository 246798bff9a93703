/** A connection whose other side has ended its direction: how long it may stay silent. */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Deadline, startDeadline } from '../deadline.ts'

/** The default of `halfOpenTimeout`, in milliseconds. */
export const halfOpenTimeout = 10_000

/** How long a connection may take over what, in milliseconds. */
export interface ConnectionTimes {
  readonly halfOpenTimeout?: number
  readonly flushTimeout?: number
}

/** How often it looks within the time, which is how late it may find that something was written. */
const looks = 4

/**
 * Waits until nothing has been written to a stream for so long. Each write begins the time anew. What
 * was written and does not flush has the longer of the two times.
 */
export class HalfOpenWatch {
  readonly #stream: Duplex
  readonly #timeout: number
  readonly #flushTimeout: number
  readonly #expire: () => void
  readonly #written: () => number
  #deadline: Deadline | undefined
  #seen: number
  #since: number = performance.now()

  constructor(stream: Duplex, timeout: number, flushTimeout: number, expire: () => void) {
    this.#stream = stream
    this.#timeout = timeout
    this.#flushTimeout = flushTimeout
    this.#expire = expire
    this.#written = stream instanceof Socket ? () => stream.bytesWritten : countWrites(stream)
    this.#seen = this.#written()
    this.#wait()
  }

  stop(): void {
    this.#deadline?.stop()
  }

  #wait(): void {
    this.#deadline = startDeadline(this.#timeout / looks, this.#look)
  }

  readonly #look = (): void => {
    const stream = this.#stream
    if (stream.destroyed) return
    // What is on its way counts as written until the kernel has taken it.
    const seen = this.#written() - stream.writableLength
    const now = performance.now()
    if (seen !== this.#seen) {
      this.#seen = seen
      this.#since = now
    }
    const bound =
      stream.writableLength > 0 ? Math.max(this.#timeout, this.#flushTimeout) : this.#timeout
    if (now - this.#since < bound) this.#wait()
    else this.#expire()
  }
}

/** A stream without a counter of its own: its writes are counted from now on. */
function countWrites(stream: Duplex): () => number {
  let count = 0
  const write = stream.write.bind(stream) as (...given: unknown[]) => boolean
  stream.write = (...given: unknown[]): boolean => {
    // More than what may wait, so that the difference grows.
    count += 1 + stream.writableLength
    return write(...given)
  }
  return () => count
}
