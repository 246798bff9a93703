/** The search for a mark, in input that arrives in chunks. */

/**
 * Finds a mark on a connection, and remembers where it has searched. So no byte is searched twice,
 * neither for a frame in many chunks, nor for a mark that is rare in a chunk of many frames.
 */
export class MarkSearch {
  readonly #mark: Buffer | number
  readonly width: number
  /** Positions on the connection: the last that was found, and how far there is no other. */
  #found = -1
  #searched = 0

  constructor(mark: Buffer) {
    this.width = mark.length
    this.#mark = mark.length === 1 ? mark[0]! : mark
  }

  /**
   * The first place at or after `from`, or -1. `at` is the position of the first of `bytes` on the
   * connection; no call begins before one that came earlier.
   */
  find(bytes: Buffer, from: number, at: number): number {
    if (this.#found >= at + from) {
      const known = this.#found - at
      if (known + this.width <= bytes.length) return known
    }
    // The searched bytes may end with the beginning of the mark.
    const begin = Math.max(from, this.#searched - at - this.width + 1)
    const place = bytes.indexOf(this.#mark, begin)
    this.#searched = at + (place < 0 ? bytes.length : place)
    if (place >= 0) this.#found = at + place
    return place
  }
}

/** How many bytes at the end may be the beginning of a mark. */
export function partialMark(bytes: Buffer, from: number, mark: Buffer): number {
  for (let count = Math.min(mark.length - 1, bytes.length - from); count > 0; count--) {
    if (mark.subarray(0, count).equals(bytes.subarray(bytes.length - count))) return count
  }
  return 0
}
