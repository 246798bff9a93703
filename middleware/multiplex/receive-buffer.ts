/** What has come for a stream that does not read: bounded in what it holds, not only in bytes. */

const blockSize = 16 * 1024

/**
 * Pieces in a row. Small ones are copied together: each would else hold the whole chunk that it is
 * a part of, and a peer that sends single bytes could fill the memory by them.
 */
export class ReceiveBuffer {
  #blocks: Buffer[] = []
  /** The last block, if there is room in it; and how much of it is used. */
  #open: Buffer | undefined
  #used = 0

  get isEmpty(): boolean {
    return this.#blocks.length === 0 && !this.#open
  }

  /** @param of Bytes of the chunk that the piece is a part of. */
  add(piece: Buffer, of: number): void {
    if (piece.length >= blockSize && piece.length * 2 >= of) {
      this.#seal()
      this.#blocks.push(piece)
      return
    }
    for (let at = 0; at < piece.length;) {
      this.#open ??= Buffer.allocUnsafeSlow(blockSize)
      const copied = piece.copy(this.#open, this.#used, at)
      at += copied
      this.#used += copied
      if (this.#used === blockSize) this.#seal()
    }
  }

  /** All that there is. */
  drain(): Buffer[] {
    this.#seal()
    const blocks = this.#blocks
    this.#blocks = []
    return blocks
  }

  #seal(): void {
    if (!this.#open) return
    this.#blocks.push(this.#open.subarray(0, this.#used))
    this.#open = undefined
    this.#used = 0
  }
}
