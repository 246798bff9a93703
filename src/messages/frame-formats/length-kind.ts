/** Frames that contain their length. */

import { FrameFault, encodeError, tooLong } from './format.ts'
import { type FrameKind, type KindReader, type Layout, none } from './kinds.ts'
import type { FieldNumber, NumberField } from './length-field.ts'

/** Frames with a length. */
export class LengthKind implements FrameKind {
  readonly tail: Buffer = none
  readonly #layout: Layout
  readonly #field: NumberField

  constructor(layout: Layout, field: NumberField) {
    this.#layout = layout
    this.#field = field
  }

  reader(maxLength: number): KindReader {
    return new LengthReader(this.#layout, this.#field, maxLength)
  }

  field(length: number): Buffer {
    const { at, plus, counts } = this.#field
    const { trailer } = this.#layout
    // Repeated until the width fits the number, since the number may count its own field.
    for (let width = this.#field.width ?? 1; ;) {
      const counted = { frame: at + width, rest: 0, body: -trailer }[counts]
      const bytes = this.#field.write(length + trailer + counted - plus)
      if (bytes.length === width) return bytes
      width = bytes.length
    }
  }

  patch(frame: Buffer): void {
    const { at, plus, counts, width, header } = this.#field
    // A field of variable width must be right already: with another length, the rest of the frame
    // would move.
    if (width === undefined) return
    const body = header ?? at + width
    if (frame.length < body + this.#layout.trailer) {
      throw encodeError(this.#layout.owner, 'is shorter than its header')
    }
    const before = { frame: 0, rest: at + width, body: body + this.#layout.trailer }[counts]
    this.#field.patch(frame, frame.length - before - plus)
  }
}

class LengthReader implements KindReader {
  readonly #field: NumberField
  readonly #trailer: number
  readonly #whole: boolean
  readonly #maxLength: number
  /** A number above this is too large for any `counts`. */
  readonly #limit: number
  readonly #number: FieldNumber = { value: 0, width: 0 }

  constructor({ trailer, whole }: Layout, field: NumberField, maxLength: number) {
    this.#field = field
    this.#trailer = trailer
    this.#whole = whole
    this.#maxLength = maxLength
    const around = (field.header ?? field.at + field.mostBytes) + trailer
    this.#limit = Math.min(maxLength + around + Math.abs(field.plus), Number.MAX_SAFE_INTEGER)
  }

  measure(bytes: Buffer, start: number): number | FrameFault {
    const { at, plus, counts, width } = this.#field
    const number = this.#number
    const read = this.#field.read(bytes, start + at, number, this.#limit)
    if (read !== true) {
      if (read !== false) return read
      return width === undefined ? bytes.length - start + 1 : at + width
    }
    const { value } = number
    if (value > this.#limit) return tooLong(value)
    const fieldEnd = at + number.width
    const around = (this.#field.header ?? fieldEnd) + this.#trailer
    const before = counts === 'rest' ? fieldEnd : counts === 'frame' ? 0 : around
    const length = value + plus + before
    if (length < around) {
      return new FrameFault('length', `has a length of ${value}, too small for its header`)
    }
    const message = this.#whole ? length : length - around
    return message > this.#maxLength ? tooLong(message) : length
  }

  header(bytes: Buffer, start: number): number {
    const { at, width, header } = this.#field
    if (header !== undefined) return header
    if (width !== undefined) return at + width
    this.#field.read(bytes, start + at, this.#number, this.#limit)
    return at + this.#number.width
  }

  tail(): number {
    return 0
  }
}
