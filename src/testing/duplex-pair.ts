/** An in-memory connection: two Duplexes, each the other end of the other. */

import { Duplex } from 'node:stream'

/** One end of a pair. */
export interface DuplexEnd extends Duplex {
  /** Destroys it as a reset does: the other end fails with `ECONNRESET`. */
  resetAndDestroy(): this
}

class Half extends Duplex implements DuplexEnd {
  other: Half | undefined
  #resume: (() => void) | undefined
  #resets = false

  override _read(): void {
    const resume = this.#resume
    this.#resume = undefined
    resume?.()
  }

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    const { other } = this
    if (!other || other.destroyed) return callback()
    // Acknowledged when the other side reads on, so that backpressure passes through.
    other.#resume = callback
    if (other.push(chunk)) other._read()
  }

  override _final(callback: () => void): void {
    this.other?.push(null)
    callback()
  }

  resetAndDestroy(): this {
    this.#resets = true
    return this.destroy()
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    const { other } = this
    this.other = undefined
    if (other && !other.destroyed && (this.#resets || !this.writableFinished)) {
      // As with a socket: an end, or a reset if data was still in flight.
      const cut = this.#resets || this.readableLength > 0 || this.writableLength > 0
      process.nextTick(() => (cut ? other.destroy(resetError()) : other.push(null)))
    }
    callback(error)
  }
}

/** The error of a connection that was reset, as Node makes it. */
export function resetError(): Error {
  return Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' })
}

/** A pair: data written to one is read from the other, half-open, with backpressure. */
export function duplexPair(): [DuplexEnd, DuplexEnd] {
  const left = new Half({ allowHalfOpen: true })
  const right = new Half({ allowHalfOpen: true })
  left.other = right
  right.other = left
  return [left, right]
}
