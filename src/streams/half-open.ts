/**
 * Half-open connections: the other side has ended its direction. This file limits how long they may
 * be silent.
 */

import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Deadline, startDeadline } from '../deadline.ts'

/** The default of `halfOpenTimeout`, in milliseconds. */
export const halfOpenTimeout = 10_000

/** The timeouts of a connection, in milliseconds. */
export interface ConnectionTimes {
  readonly halfOpenTimeout?: number
  readonly flushTimeout?: number
}

/** Number of checks within the time, which decides how late it may notice a write. */
const looks = 4

/**
 * Waits until nothing was written to a stream for so long. Each write restarts the time. For data
 * that does not flush, the longer of the two timeouts applies.
 */
export class HalfOpenWatch {
  readonly #stream: Duplex
  readonly #timeout: number
  readonly #flushTimeout: number
  readonly #expire: () => void
  /** For a stream that counts nothing itself. */
  readonly #counted: (() => number) | undefined
  #deadline: Deadline | undefined
  #seen: number
  #since: number = performance.now()

  constructor(stream: Duplex, timeout: number, flushTimeout: number, expire: () => void) {
    this.#stream = stream
    this.#timeout = timeout
    this.#flushTimeout = flushTimeout
    this.#expire = expire
    this.#counted = stream instanceof Socket ? undefined : countWrites(stream)
    this.#seen = this.#written
    this.#wait()
  }

  stop(): void {
    this.#deadline?.stop()
  }

  get #written(): number {
    return this.#counted ? this.#counted() : (this.#stream as Socket).bytesWritten
  }

  #wait(): void {
    this.#deadline = startDeadline(this.#timeout / looks, this.#look)
  }

  readonly #look = (): void => {
    const stream = this.#stream
    if (stream.destroyed) return
    // Data in flight counts as written until the kernel has accepted it.
    const seen = this.#written - stream.writableLength
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

/** The stream has no counter of its own, so Cio counts its writes from now on. */
function countWrites(stream: Duplex): () => number {
  let count = 0
  const write = stream.write.bind(stream) as (...given: unknown[]) => boolean
  stream.write = (...given: unknown[]): boolean => {
    // More than the buffer limit, so that the difference grows.
    count += 1 + stream.writableLength
    return write(...given)
  }
  return () => count
}
