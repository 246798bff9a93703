/** The bytes of an incomplete message. */

const leastCapacity = 1024
const empty = Buffer.alloc(0)

/** Grows by doubling, so that many chunks stay cheap. */
export class PartialMessage {
  #buffer: Buffer = empty
  #length = 0

  /** The number of bytes held. */
  get length(): number {
    return this.#length
  }

  /** The bytes held, valid until the next append. */
  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  /** Appends a copy of bytes. */
  append(bytes: Buffer): void {
    const needed = this.#length + bytes.length
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#buffer.length, leastCapacity))
      this.#buffer.copy(grown, 0, 0, this.#length)
      this.#buffer = grown
    }
    bytes.copy(this.#buffer, this.#length)
    this.#length = needed
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
    this.#length = 0
  }
}
