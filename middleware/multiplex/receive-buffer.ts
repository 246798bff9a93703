/** Received data of a stream that is not read: bounded in memory, not only in bytes. */

const blockSize = 16 * 1024
/** Bytes of the first block. Most streams are short, and a block costs more than its bytes do. */
const firstBlockSize = 64

/**
 * A queue of pieces. Small ones are copied together: each would otherwise keep its whole chunk in
 * memory, and a peer that sends single bytes could exhaust the memory that way.
 */
export class ReceiveBuffer {
  #blocks: Buffer[] = []
  /** The last block, if it has room left; and the number of bytes used in it. */
  #open: Buffer | undefined
  #used = 0
  #nextSize = firstBlockSize

  /** @param of Bytes of the chunk that contains the piece. */
  add(piece: Buffer, of: number): void {
    if (piece.length >= blockSize && piece.length * 2 >= of) {
      this.#seal()
      this.#blocks.push(piece)
      return
    }
    for (let at = 0; at < piece.length;) {
      this.#open ??= this.#newBlock(piece.length - at)
      const copied = piece.copy(this.#open, this.#used, at)
      at += copied
      this.#used += copied
      if (this.#used === this.#open.length) this.#seal()
    }
  }

  /** Removes and returns all pieces. */
  drain(): Buffer[] {
    this.#seal()
    const blocks = this.#blocks
    this.#blocks = []
    this.#nextSize = firstBlockSize
    return blocks
  }

  /** A block twice the size of the last one, so that memory is at most twice the data. */
  #newBlock(wanted: number): Buffer {
    const size = Math.min(Math.max(this.#nextSize, wanted), blockSize)
    this.#nextSize = Math.min(2 * size, blockSize)
    return Buffer.allocUnsafeSlow(size)
  }

  #seal(): void {
    if (!this.#open) return
    this.#blocks.push(this.#open.subarray(0, this.#used))
    this.#open = undefined
    this.#used = 0
  }
}
