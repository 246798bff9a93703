/** The field of a frame that contains its length. */

import { FrameFault, encodeError, tooLong } from './format.ts'
import {
  digit,
  lowestBit,
  maskBits,
  readDigits,
  readUint,
  writeUint,
  writeVarint,
} from './numbers.ts'
import { checkForm, given } from './length-form.ts'
import type { OptionCheck } from './option-check.ts'
import type { Endian, FieldWidth, LengthField } from './options.ts'

const longestVarint = 5
const longestDigits = 10
const mostPosition = 65_535

/** The field of given options: reads and writes its number. */
export class NumberField {
  readonly owner: string
  readonly as: 'uint' | 'varint' | 'decimal' | 'hex'
  /** Its bytes; undefined if they vary. */
  readonly width: number | undefined
  readonly mostBytes: number
  readonly at: number
  /** Where the body begins; undefined for after the field. */
  readonly header: number | undefined
  readonly counts: 'rest' | 'frame' | 'body'
  readonly plus: number
  readonly mask: number | undefined
  /** The value of the lowest bit of the number in the field. */
  readonly #unit: number
  readonly #until: Buffer
  readonly #endian: Endian

  /** @throws `ERR_CIO_OPTION` */
  constructor(
    check: OptionCheck,
    options: FieldWidth | 'varint' | LengthField,
    start: number,
    endian: Endian,
  ) {
    const field = given(check, options)
    const inside = check.within('length')
    const { as = 'uint', at = start, header, counts = 'rest', plus = 0, mask } = field
    this.owner = check.owner
    this.as = as
    this.#until = field.until === undefined ? Buffer.alloc(0) : inside.mark('until', field.until)
    checkForm(inside, field, as, this.#until)
    this.width = field.bytes
    this.mostBytes =
      field.bytes ?? field.maxBytes ?? (as === 'varint' ? longestVarint : longestDigits)
    inside.whole('at', at, start, mostPosition)
    inside.oneOf('counts', counts, ['rest', 'frame', 'body'])
    inside.whole('plus', plus, -mostPosition, mostPosition)
    this.at = at
    this.counts = counts
    this.plus = plus
    this.mask = mask
    this.#unit = mask === undefined ? 1 : lowestBit(mask)
    if (header !== undefined) {
      if (this.width === undefined) {
        throw inside.refused('`header` is a fixed position, and the width of this field varies')
      }
      inside.whole('header', header, at + this.width, mostPosition)
    }
    this.header = header
    this.#endian = inside.endian('endian', field.endian, endian)
  }

  /** Whether the options define each byte before the body. */
  knowsHeader(start: number): boolean {
    return this.at === start && (this.header === undefined || this.header === this.at + this.width!)
  }

  /** Reads the number into `number`; returns false if some of its bytes are missing. */
  read(bytes: Buffer, at: number, number: FieldNumber, limit: number): boolean | FrameFault {
    const { as, width } = this
    if (as === 'varint') return this.#readVarint(bytes, at, number, limit)
    if (width === undefined) return this.#readUntil(bytes, at, number)
    if (bytes.length - at < width) return false
    number.width = width
    if (as === 'uint') {
      const value = readUint(bytes, at, width, this.#endian)
      number.value = this.mask === undefined ? value : maskBits(value, this.mask) / this.#unit
      return true
    }
    number.value = readDigits(bytes, at, width, as === 'hex' ? 16 : 10)
    return number.value >= 0 ? true : this.#notDigits()
  }

  /** The bytes of the field for a number. @throws `ERR_CIO_ENCODE` (local): it does not fit */
  write(value: number): Buffer {
    const { as, width = 0, mask } = this
    if (value < 0) throw encodeError(this.owner, `would have a length of ${value}`)
    if (as === 'uint') {
      const most = (mask ?? 256 ** width - 1) / this.#unit
      const placed = value * this.#unit
      const fits = value <= most && (mask === undefined || maskBits(placed, mask) === placed)
      if (!fits) {
        const holds = mask === undefined ? `a length of ${width} bytes` : 'its field'
        throw encodeError(this.owner, `has a length of ${value}; ${holds} holds at most ${most}`)
      }
      const bytes = Buffer.alloc(width)
      writeUint(bytes, placed, 0, width, this.#endian)
      return bytes
    }
    const bytes = as === 'varint' ? writeVarint(value) : this.#digits(value)
    if (bytes.length <= this.mostBytes + this.#until.length) return bytes
    throw encodeError(this.owner, `has a length of ${value}, which does not fit into its field`)
  }

  /** Writes a number into a frame, and keeps the bits that do not belong to it. */
  patch(frame: Buffer, value: number): void {
    const bytes = this.write(value)
    if (this.mask !== undefined) {
      const all = readUint(frame, this.at, this.width!, this.#endian)
      const others = all - maskBits(all, this.mask)
      writeUint(bytes, others + value * this.#unit, 0, bytes.length, this.#endian)
    }
    bytes.copy(frame, this.at)
  }

  #readVarint(bytes: Buffer, at: number, number: FieldNumber, limit: number): boolean | FrameFault {
    let value = 0
    for (let index = 0; index < this.mostBytes; index++) {
      const byte = bytes[at + index]
      if (byte === undefined) return false
      value += (byte & 0x7f) * 2 ** (7 * index)
      if (value > limit) return tooLong(value)
      if (byte >= 0x80) continue
      number.width = index + 1
      number.value = value
      return true
    }
    return new FrameFault('length', `has a length of more than ${this.mostBytes} bytes`)
  }

  #readUntil(bytes: Buffer, at: number, number: FieldNumber): boolean | FrameFault {
    const radix = this.as === 'hex' ? 16 : 10
    let value = 0
    let count = 0
    for (; count <= this.mostBytes; count++) {
      if (at + count >= bytes.length) return false
      const one = digit(bytes[at + count], radix)
      if (one < 0) break
      value = value * radix + one
    }
    if (count > this.mostBytes) {
      return new FrameFault('length', `has a length of more than ${this.mostBytes} digits`)
    }
    const end = at + count
    const there = Math.min(this.#until.length, bytes.length - end)
    const fits = this.#until.compare(bytes, end, end + there, 0, there) === 0
    if (count === 0 || !fits) return this.#notDigits()
    if (there < this.#until.length) return false
    number.width = count + this.#until.length
    number.value = value
    return true
  }

  #digits(value: number): Buffer {
    const text = value.toString(this.as === 'hex' ? 16 : 10).padStart(this.width ?? 1, '0')
    return Buffer.concat([Buffer.from(text), this.#until])
  }

  #notDigits(): FrameFault {
    const form = this.as === 'hex' ? 'hexadecimal' : 'decimal'
    return new FrameFault('length', `has a length that is not ${form}`)
  }
}

/** A number that was read, and the bytes that it takes. */
export interface FieldNumber {
  value: number
  width: number
}
