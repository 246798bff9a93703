/** The bytes of an incomplete message. */

const leastCapacity = 1024
const empty = Buffer.alloc(0)

/** Grows by doubling, so that many chunks stay cheap. */
export class PartialMessage {
  #buffer: Buffer = empty
  #start = 0
  #length = 0

  /** The number of bytes held. */
  get length(): number {
    return this.#length
  }

  /** The bytes held, valid until the next append. */
  get bytes(): Buffer {
    return this.#buffer.subarray(this.#start, this.#start + this.#length)
  }

  /** Appends a copy of bytes. */
  append(bytes: Buffer): void {
    const needed = this.#length + bytes.length
    if (this.#start + needed > this.#buffer.length) {
      this.#moveTo(Math.max(needed, 2 * this.#length, leastCapacity))
    }
    bytes.copy(this.#buffer, this.#start + this.#length)
    this.#length = needed
  }

  /** Drops so many bytes from the beginning; bytes that were returned before stay valid. */
  drop(count: number): void {
    if (count >= this.#length) return this.clear()
    this.#start += count
    this.#length -= count
    const least = Math.max(2 * this.#length, leastCapacity)
    if (this.#buffer.length > 2 * least) this.#moveTo(least)
  }

  /** The bytes held, followed by `bytes`; empties it. */
  take(bytes: Buffer): Buffer {
    if (this.#length === 0) return bytes
    this.append(bytes)
    const all = this.bytes
    this.clear()
    return all
  }

  /** Empties it; bytes that were returned before stay valid. */
  clear(): void {
    this.#buffer = empty
    this.#start = 0
    this.#length = 0
  }

  #moveTo(capacity: number): void {
    // Not from Node's pool: the rest of a message may stay for as long as a connection, and would
    // keep 64 KiB of the pool (8 KiB before Node 24).
    const moved = Buffer.allocUnsafeSlow(capacity)
    this.bytes.copy(moved)
    this.#buffer = moved
    this.#start = 0
  }
}
