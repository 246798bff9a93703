/** The bytes before the parser: a byte order mark at their beginning, and whether they are UTF-8. */

const byteOrderMark = [0xef, 0xbb, 0xbf]

/** What comes over one connection. */
export class Input {
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true })
  #seen = 0
  #isOver = false

  /** How many bytes of a byte order mark have been passed over. */
  get passedOver(): number {
    return this.#seen
  }

  /** Whether the mark has begun and not ended. */
  get isWithinMark(): boolean {
    return this.#seen > 0 && !this.#isOver
  }

  /** The chunk without a mark, as other readers of JSON have it; undefined if that is cut off. */
  take(chunk: Buffer): Buffer | undefined {
    let at = 0
    while (!this.#isOver && at < chunk.length) {
      if (chunk[at] !== byteOrderMark[this.#seen]) {
        if (this.#seen > 0) return undefined
        this.#isOver = true
      } else {
        this.#seen += 1
        at += 1
        this.#isOver = this.#seen === byteOrderMark.length
      }
    }
    return at === 0 ? chunk : chunk.subarray(at)
  }

  /** Whether it is UTF-8 so far; a character may be under way. */
  isUtf8(bytes: Buffer): boolean {
    try {
      this.#utf8.decode(bytes, { stream: true })
      return true
    } catch {
      return false
    }
  }
}
