/** Values one after another, each of which ends where its nesting does: as CBOR and MessagePack. */

import { CioError, asError } from '../errors.ts'
import { type Framing, syntaxError, messageTooLong } from './frame-decoder.ts'

/** What a {@link SelfDelimitingValues} is of: the bounds of its values, and what makes them. */
export interface ValueFormat<In> {
  /** The name of the middleware, and that of the format, for errors. */
  readonly owner: string
  readonly name: string
  /** Bytes of a value, and of all records together, at most. */
  readonly maxLength: number
  /** Values within each other, at most. */
  readonly maxDepth: number
  /**
   * Makes the values of a region, which are all whole. An error may say which came before it
   * (`values`), and where it is (`lastPosition`), as those of cbor-x and msgpackr do.
   */
  readonly decode: (region: Buffer) => In[]
  /** Where `decode` keeps the keys of each record that the peer has defined, by its number. */
  readonly records?: readonly object[]
}

/** What a record is taken to cost besides its keys, in bytes. */
const recordOverhead = 64
const shownBytes = 16

/**
 * A framing for values that say how many others they hold, or that those go on up to a break. It
 * finds where they end without making them, bounded in length and depth, and keeps its place in one
 * that goes on. Those that came together are made by one call.
 *
 * What extends it knows the tokens of the format. One for each connection.
 */
export abstract class SelfDelimitingValues<In> implements Framing<In> {
  /** How far the value under way was looked at, from its start. */
  protected seen = 0
  /** Values still to come at the innermost level, `Infinity` up to a break; and at those around. */
  protected left = 1
  protected readonly outer: number[] = []
  /** Whether a record was defined since the last values were made. */
  protected defined = false
  readonly #format: ValueFormat<In>
  readonly #maxLength: number
  readonly #maxDepth: number

  constructor(format: ValueFormat<In>) {
    this.#format = format
    this.#maxLength = format.maxLength
    this.#maxDepth = format.maxDepth
  }

  end(bytes: Buffer, start: number, offset: number): number {
    const end = this.scan(bytes, start, offset)
    if (end - start > this.#maxLength) throw this.#messageTooLong()
    if (end <= bytes.length) {
      this.seen = 0
      this.left = 1
    }
    return end
  }

  open(bytes: Buffer, ends: readonly number[], into: In[], offset: number): void {
    const { owner, name, decode } = this.#format
    const end = ends.at(-1)!
    const region = end === bytes.length ? bytes : bytes.subarray(0, end)
    let values: In[]
    try {
      values = decode(region)
    } catch (thrown) {
      const cause: Error & { values?: In[]; lastPosition?: number } = asError(thrown)
      const { values: before = [], lastPosition = 0 } = cause
      for (const value of before) into.push(value)
      const shown = region.toString('hex', lastPosition, lastPosition + shownBytes)
      throw syntaxError(owner, `is not ${name}`, offset + lastPosition, shown, cause)
    }
    for (const value of values) into.push(value)
    if (values.length !== ends.length) {
      throw syntaxError(owner, 'is ambiguous', offset, region.toString('hex', 0, shownBytes))
    }
    if (this.defined) this.#boundRecords(offset)
  }

  /**
   * Where the value that begins at `start` ends, as `end` of a {@link Framing} tells it. It begins
   * `seen` bytes after that, with so many `left`, goes into what holds others by `enter`, and
   * returns by `pause`.
   */
  protected abstract scan(bytes: Buffer, start: number, offset: number): number

  /**
   * Goes into a value with so many in it, of which it returns how many; `left` come after it. Too
   * many for `maxLength` are refused here, wherever the input was cut: each takes a byte at least.
   */
  protected enter(
    items: number,
    left: number,
    bytes: Buffer,
    start: number,
    offset: number,
  ): number {
    if (items >= this.#maxLength && items !== Infinity) throw this.#messageTooLong()
    this.outer.push(left)
    if (this.outer.length <= this.#maxDepth) return items
    const what = `is nested deeper than \`maxDepth\`, ${this.#maxDepth}`
    throw this.malformed(what, bytes, start, offset)
  }

  /** Keeps the place; `needed` is how far the value reaches at least. */
  protected pause(seen: number, left: number, needed: number): number {
    this.seen = seen
    this.left = left
    return needed
  }

  /** The error of a value that is not of the format. */
  protected malformed(what: string, bytes: Buffer, start: number, offset: number): CioError {
    const shown = bytes.toString('hex', start, start + shownBytes)
    return syntaxError(this.#format.owner, what, offset + start, shown)
  }

  /** Records are kept as long as the connection lives, and a peer may number them as it likes. */
  #boundRecords(offset: number): void {
    const { owner, records = [] } = this.#format
    this.defined = false
    let length = 0
    for (const keys of Object.values(records)) {
      if (!Array.isArray(keys)) continue
      length += recordOverhead
      for (const key of keys as unknown[]) {
        if (typeof key !== 'string') {
          throw syntaxError(owner, 'defines a record by what is not a string', offset, '')
        }
        length += key.length
      }
    }
    if (length > this.#maxLength) throw this.#messageTooLong()
  }

  #messageTooLong(): CioError {
    return messageTooLong(this.#format.owner, this.#maxLength)
  }
}

/**
 * The encoder of one connection that tells its peer things once, such as the keys of a record.
 * After it threw, it may count on what was not sent: then it is made anew, and tells all again.
 */
export function statefulEncoder<Out>(
  owner: string,
  make: () => (message: Out) => Uint8Array,
): (message: Out) => Uint8Array {
  let encode: ((message: Out) => Uint8Array) | undefined
  return (message) => {
    encode ??= make()
    try {
      return encode(message)
    } catch (cause) {
      encode = undefined
      throw new CioError('ERR_CIO_ENCODE', `${owner}: the message to send has no form in it`, {
        cause,
      })
    }
  }
}
