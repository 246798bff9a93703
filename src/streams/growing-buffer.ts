/** Joins bytes that arrive in pieces. */

const leastCapacity = 64

/**
 * Joins pieces. It copies each byte a few times at most, however the input is cut. It holds at most
 * twice the appended bytes, or 64 bytes.
 */
export class GrowingBuffer {
  #memory: Buffer
  #length: number

  /** @param first The first piece. It is kept and not copied. */
  constructor(first: Buffer = Buffer.alloc(0)) {
    this.#memory = first
    this.#length = first.length
  }

  get length(): number {
    return this.#length
  }

  /** Everything appended so far. Stays valid, and does not grow, when more is appended. */
  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#length)
  }

  /** Appends a copy of a piece. */
  append(piece: Buffer): void {
    const length = this.#length + piece.length
    if (length > this.#memory.length) {
      const capacity = Math.max(length, 2 * this.#length, leastCapacity)
      const memory = Buffer.allocUnsafeSlow(capacity)
      this.#memory.copy(memory, 0, 0, this.#length)
      this.#memory = memory
    }
    piece.copy(this.#memory, this.#length)
    this.#length = length
  }
}
