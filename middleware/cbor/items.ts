/** Where CBOR data items end, found without making them. */

import {
  type ValueFormat,
  SelfDelimitingValues,
} from '../../src/messages/self-delimiting-values.ts'

const two32 = 2 ** 32
const recordTags = new Set([0xdfff, 0xdffe, 105])
// cbor-x makes a bigint byte by byte, in time that grows with the square of its length.
const longestBigint = 1024

/** The items of one connection. */
export class Items<In> extends SelfDelimitingValues<In> {
  readonly #refused: ReadonlySet<number>
  /** The tag right before, or -1. */
  #tag = -1

  /** Tags that are `refused` are not read. */
  constructor(format: ValueFormat<In>, refused: ReadonlySet<number>) {
    super(format)
    this.#refused = refused
  }

  protected override scan(bytes: Buffer, start: number, offset: number): number {
    const { outer } = this
    let at = start + this.seen
    let left = this.left
    let items = 0
    let tag = this.#tag
    for (;;) {
      while (left === 0 && outer.length > 0) left = outer.pop()!
      if (left === 0 || at >= bytes.length) {
        this.#tag = tag
        return this.pause(at - start, left, at + Math.min(left, 1))
      }

      const token = bytes[at]!
      const major = token >> 5
      const low = token & 0x1f
      let argument = low
      let header = 1
      if (low >= 24) {
        if (low === 31) {
          if (token === 0xff && left === Infinity) {
            at += 1
            left = 0
            continue
          }
          if (major !== 4 && major !== 5) {
            throw this.malformed('has an indefinite length out of place', bytes, start, offset)
          }
          argument = Infinity
        } else {
          if (low > 27) throw this.malformed('has a reserved length', bytes, start, offset)
          header = 1 + 2 ** (low - 24)
          if (at + header > bytes.length) {
            this.#tag = tag
            return this.pause(at - start, left, at + header)
          }
          argument =
            low === 24
              ? bytes[at + 1]!
              : low === 25
                ? (bytes[at + 1]! << 8) | bytes[at + 2]!
                : low === 26
                  ? bytes.readUInt32BE(at + 1)
                  : bytes.readUInt32BE(at + 1) * two32 + bytes.readUInt32BE(at + 5)
        }
      }
      at += header
      items = 0
      if (major === 2 || major === 3) {
        if (major === 2 && argument > longestBigint && (tag === 2 || tag === 3)) {
          throw this.malformed('has too long a bigint', bytes, start, offset)
        }
        at += argument
      } else if (major === 4) {
        items = argument
      } else if (major === 5) {
        items = argument * 2
      } else if (major === 6) {
        if (this.#refused.has(argument)) {
          throw this.malformed(`has tag ${argument}`, bytes, start, offset)
        }
        if (argument <= 0xdfff && recordTags.has(argument)) this.defined = true
        items = 1
      }
      tag = major === 6 ? argument : -1
      left -= 1
      if (items > 0) left = this.enter(items, left, bytes, start, offset)
    }
  }
}
