/** The ways to find the end of a frame. In this file: by a fixed size, and by a function. */

import { FrameFault, tooLong } from './format.ts'
import type { Measure } from './options.ts'
import { isCioError } from '../../errors.ts'
import { atOnce } from '../../thenable.ts'

/** The settings that all frames of a format share. */
export interface Layout {
  readonly owner: string
  readonly start: Buffer
  readonly end: Buffer
  /** Bytes of the checksum and of `end`. */
  readonly trailer: number
  /** Those of them that stand after the delimiter: all or none. */
  readonly behind: number
  readonly whole: boolean
}

/** Reads the frames of one connection, after their start. */
export interface KindReader {
  /** As that of a `FrameReader`. */
  measure(bytes: Buffer, start: number, at: number): number | FrameFault
  /** Bytes before the body. */
  header(bytes: Buffer, start: number): number
  /** Bytes of the delimiter that ends at `end`. */
  tail(bytes: Buffer, end: number): number
}

/** One way to find the end of a frame. */
export interface FrameKind {
  reader(maxLength: number): KindReader
  /** Makes the field for a body of so many bytes. */
  field(length: number): Buffer
  /** Writes the length into a whole frame. */
  patch(frame: Buffer): void
  /** The delimiter to write; empty without one. */
  readonly tail: Buffer
}

export const none: Buffer = Buffer.alloc(0)

/** A kind whose frames do not state their length. */
export abstract class KindWithoutLength implements FrameKind {
  readonly tail: Buffer = none

  abstract reader(maxLength: number): KindReader

  field(): Buffer {
    return none
  }

  patch(): void {}
}

/** Frames of one size. */
export class SizeKind extends KindWithoutLength {
  readonly #layout: Layout
  readonly #size: number

  constructor(layout: Layout, size: number) {
    super()
    this.#layout = layout
    this.#size = size
  }

  override reader(): KindReader {
    const size = this.#size
    const header = this.#layout.start.length
    return { measure: () => size, header: () => header, tail: () => 0 }
  }
}

/** Frames whose length a function returns. */
export class MeasureKind extends KindWithoutLength {
  readonly #layout: Layout
  readonly #measure: Measure

  constructor(layout: Layout, measure: Measure) {
    super()
    this.#layout = layout
    this.#measure = measure
  }

  override reader(maxLength: number): KindReader {
    return new MeasureReader(this.#layout, this.#measure, maxLength)
  }
}

/**
 * Bytes that the function sees at first; then twice as many each time. So a function that looks at
 * all that it sees does not cost more if more has arrived, and Cio knows how far it has looked.
 */
const firstView = 256

class MeasureReader implements KindReader {
  readonly #owner: string
  readonly #measure: Measure
  readonly #start: number
  /** The lengths of the longest and the shortest frame. */
  readonly #most: number
  readonly #least: number
  /** The frame that is being measured. */
  #at = -1
  #kept: Record<string, number> = {}
  #seen = 0
  #length: number | undefined

  constructor({ owner, start, trailer, whole }: Layout, measure: Measure, maxLength: number) {
    this.#owner = owner
    this.#measure = measure
    this.#start = start.length
    this.#least = Math.max(1, start.length + trailer)
    this.#most = whole ? maxLength : maxLength + start.length + trailer
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    if (at !== this.#at) {
      this.#at = at
      this.#kept = {}
      this.#seen = 0
      this.#length = undefined
    }
    // The function is not called again once it has returned a length.
    if (this.#length !== undefined) return this.#length
    // The function sees no more than the longest frame, so that its result does not depend on where
    // the input is cut.
    const there = Math.min(bytes.length - start, this.#most)
    for (;;) {
      let most = firstView
      while (most <= this.#seen) most *= 2
      const view = bytes.subarray(start, start + Math.min(there, most))
      const length = this.#lengthIn(view)
      if (typeof length === 'number') return length
      if (length !== undefined) return Object.assign(length, { looked: most })
      this.#seen = view.length
      if (view.length === there) return there < this.#most ? there + 1 : tooLong()
    }
  }

  #lengthIn(view: Buffer): number | FrameFault | undefined {
    let length: number | undefined
    try {
      length = atOnce(this.#owner, 'measure', this.#measure(view, this.#kept))
    } catch (cause) {
      if (isCioError(cause, 'ERR_CIO_OPTION')) throw cause
      return new FrameFault('measure', 'has no length by `measure`', 0, cause)
    }
    if (length === undefined) return undefined
    if (!Number.isSafeInteger(length) || length < this.#least) {
      return new FrameFault('length', `has a length of ${length} by \`measure\``)
    }
    return length > this.#most ? tooLong(length) : (this.#length = length)
  }

  header(): number {
    return this.#start
  }

  tail(): number {
    return 0
  }
}
