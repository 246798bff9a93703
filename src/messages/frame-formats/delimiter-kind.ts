/** Frames that a delimiter ends. */

import { type FrameFault, tooLong } from './format.ts'
import { type KindReader, KindWithoutLength, type Layout } from './kinds.ts'
import { MarkSearch } from './search.ts'

/** Frames that a delimiter ends, or one of several. */
export class DelimiterKind extends KindWithoutLength {
  override readonly tail: Buffer
  readonly #layout: Layout
  /** Sorted by length, the longest first, since two delimiters may end at the same place. */
  readonly #delimiters: readonly Buffer[]

  constructor(layout: Layout, delimiters: readonly Buffer[]) {
    super()
    this.tail = delimiters[0]!
    this.#layout = layout
    this.#delimiters = delimiters.toSorted((one, other) => other.length - one.length)
  }

  override reader(maxLength: number): KindReader {
    return new DelimiterReader(this.#layout, this.#delimiters, maxLength)
  }

  /** The end of the first delimiter that is complete at or after `from`. */
  finder(): (bytes: Buffer, from: number, at: number) => number {
    const searches = this.#delimiters.map((delimiter) => new MarkSearch(delimiter))
    return (bytes, from, at) => firstEnd(searches, bytes, from, at)
  }
}

class DelimiterReader implements KindReader {
  readonly #layout: Layout
  readonly #delimiters: readonly Buffer[]
  readonly #searches: readonly MarkSearch[]
  readonly #shortest: number
  readonly #longest: number
  readonly #maxLength: number
  /** Bytes of a frame, up to its delimiter, that are none of the message. */
  readonly #around: number

  constructor(layout: Layout, delimiters: readonly Buffer[], maxLength: number) {
    this.#layout = layout
    this.#delimiters = delimiters
    this.#searches = delimiters.map((delimiter) => new MarkSearch(delimiter))
    this.#shortest = delimiters.at(-1)!.length
    this.#longest = delimiters[0]!.length
    this.#maxLength = maxLength
    const { whole, start, trailer, behind } = layout
    this.#around = (whole ? 0 : start.length + trailer) - behind
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    const from = start + this.#layout.start.length
    const end = firstEnd(this.#searches, bytes, from, at - start)
    // Without a complete delimiter, the next byte is the earliest that can complete one.
    const least = end < 0 ? Math.max(bytes.length + 1, from + this.#shortest) : end
    const tail = this.#layout.whole ? 0 : end < 0 ? this.#longest : this.tail(bytes, end)
    if (least - start - tail - this.#around > this.#maxLength) return tooLong()
    return end < 0 ? bytes.length - start + 1 : end - start + this.#layout.behind
  }

  header(): number {
    return this.#layout.start.length
  }

  tail(bytes: Buffer, end: number): number {
    if (this.#delimiters.length === 1) return this.#shortest
    const found = this.#delimiters.find(
      (one) => one.length <= end && one.compare(bytes, end - one.length, end) === 0,
    )
    return found!.length
  }
}

/** The end of the first mark that is complete at or after `from`, or -1. */
function firstEnd(
  searches: readonly MarkSearch[],
  bytes: Buffer,
  from: number,
  at: number,
): number {
  let end = -1
  for (const search of searches) {
    const found = search.find(bytes, from, at)
    if (found >= 0 && (end < 0 || found + search.width < end)) end = found + search.width
  }
  return end
}
