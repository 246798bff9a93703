/** Prepares bytes for the parser: skips a byte order mark, and checks UTF-8. */

const byteOrderMark = [0xef, 0xbb, 0xbf]

/** The input of one connection. */
export class Input {
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true })
  #seen = 0
  #isOver = false

  /** How many bytes of a byte order mark have been skipped. */
  get passedOver(): number {
    return this.#seen
  }

  /** Whether a byte order mark has begun and is incomplete. */
  get isWithinMark(): boolean {
    return this.#seen > 0 && !this.#isOver
  }

  /**
   * The chunk without a byte order mark, as other JSON parsers treat it; undefined if the mark is
   * broken.
   */
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

  /** Whether the input is UTF-8 so far; the last character may be incomplete. */
  isUtf8(bytes: Buffer): boolean {
    try {
      this.#utf8.decode(bytes, { stream: true })
      return true
    } catch {
      return false
    }
  }
}
