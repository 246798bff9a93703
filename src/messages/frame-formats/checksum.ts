/** The checksum of a frame. */

import { FrameFault, encodeError } from './format.ts'
import { isCioError } from '../../errors.ts'
import { atOnce } from '../../thenable.ts'
import { readDigits, readUint, writeUint } from './numbers.ts'
import type { OptionCheck } from './option-check.ts'
import type { Checksum, Endian } from './options.ts'

const known = ['of', 'bytes', 'as', 'over', 'before', 'afterDelimiter', 'endian']
const widestUint = 4
const widestDigits = 8

/** A checksum of given options: reads, compares and writes it. */
export class FrameChecksum {
  /** The bytes of the checksum, with those of the mark before it. */
  readonly width: number
  readonly isUint: boolean
  readonly before: Buffer
  readonly afterDelimiter: boolean
  readonly digits: number
  readonly #owner: string
  readonly #of: (bytes: Uint8Array) => number
  readonly #radix: 10 | 16
  readonly #modulus: number
  readonly #over: 'frame' | 'header' | 'body'
  readonly #endian: Endian

  /** @throws `ERR_CIO_OPTION` */
  constructor(check: OptionCheck, options: Checksum, endian: Endian) {
    const { of, bytes, as = 'uint', over = 'frame', before } = options
    check.names(options, known)
    if (typeof of !== 'function') throw check.wrong('of', 'a function', of)
    check.oneOf('as', as, ['uint', 'decimal', 'hex'])
    check.whole('bytes', bytes, 1, as === 'uint' ? widestUint : widestDigits)
    check.oneOf('over', over, ['frame', 'header', 'body'])
    if (as !== 'uint' && options.endian !== undefined) {
      throw check.refused('`endian` is for a checksum that is an integer, and this one has digits')
    }
    check.boolean('afterDelimiter', options.afterDelimiter)
    this.afterDelimiter = options.afterDelimiter ?? false
    this.before = before === undefined ? Buffer.alloc(0) : check.mark('before', before)
    this.digits = bytes
    this.width = this.before.length + bytes
    this.isUint = as === 'uint'
    this.#owner = check.owner
    this.#of = of
    this.#radix = as === 'decimal' ? 10 : 16
    this.#modulus = (as === 'uint' ? 256 : this.#radix) ** bytes
    this.#over = over
    this.#endian = check.endian('endian', options.endian, endian)
  }

  /**
   * Why the checksum is wrong; undefined if it is right. The frame begins at `start`, the checksum
   * ends at `until`, and stands after a delimiter of `delimiter` bytes. `body` is a view of the body,
   * if there is one: a second view would cost as much as a short checksum.
   */
  faultOf(
    bytes: Buffer,
    start: number,
    afterStart: number,
    header: number,
    until: number,
    delimiter: number,
    body: Buffer | undefined,
  ): FrameFault | undefined {
    const at = until - this.digits
    const covered = at - this.before.length
    if (covered - delimiter < header)
      return new FrameFault('checksum', 'is too short for its checksum')
    if (this.before.length > 0 && this.before.compare(bytes, covered, at) !== 0) {
      return new FrameFault('checksum', 'has no mark before its checksum')
    }
    const found = this.isUint
      ? readUint(bytes, at, this.digits, this.#endian)
      : readDigits(bytes, at, this.digits, this.#radix)
    if (found < 0) return new FrameFault('checksum', 'has a checksum that is not of digits')
    const from = this.#from(start, afterStart, header)
    const bodyEnd = covered - delimiter
    const to = this.#over === 'body' ? bodyEnd : covered
    const isBody = from === header && to === bodyEnd
    let computed: number
    try {
      computed = this.#compute(body && isBody ? body : bytes.subarray(from, to))
    } catch (cause) {
      if (isCioError(cause, 'ERR_CIO_OPTION')) throw cause
      return new FrameFault('checksum', 'has a checksum that cannot be computed', 0, cause)
    }
    if (found === computed) return undefined
    const places = this.isUint ? 2 * this.digits : this.digits
    const shown = (sum: number): string => sum.toString(this.#radix).padStart(places, '0')
    const what = `has checksum ${shown(found)}, computed ${shown(computed)}`
    return new FrameFault('checksum', what)
  }

  /** Writes it before `until`, with the mark before it. */
  write(frame: Buffer, afterStart: number, header: number, until: number, delimiter = 0): void {
    const at = until - this.digits
    const covered = at - this.before.length
    if (covered - delimiter < header)
      throw encodeError(this.#owner, 'is too short for its checksum')
    const to = this.#over === 'body' ? covered - delimiter : covered
    let sum: number
    try {
      sum = this.#compute(frame.subarray(this.#from(0, afterStart, header), to))
    } catch (cause) {
      throw encodeError(this.#owner, 'has a checksum that cannot be computed', cause)
    }
    this.before.copy(frame, covered)
    if (this.isUint) return writeUint(frame, sum, at, this.digits, this.#endian)
    const digits = sum.toString(this.#radix).toUpperCase().padStart(this.digits, '0')
    frame.write(digits, at, 'latin1')
  }

  #from(start: number, afterStart: number, header: number): number {
    if (this.#over === 'frame') return start
    return this.#over === 'header' ? afterStart : header
  }

  #compute(bytes: Buffer): number {
    const sum = atOnce(this.#owner, 'of', this.#of(bytes))
    if (sum >= 0 && sum < this.#modulus) return sum
    // A CRC-32 in JavaScript may be negative.
    return ((sum % this.#modulus) + this.#modulus) % this.#modulus
  }
}
