/** Values one after another, each of which ends where its nesting does: as CBOR and MessagePack. */

import { CioError, asError } from '../errors.ts'
import { type Framing, syntaxError, messageTooLong } from './frame-decoder.ts'
import { Level, open, openMap, openMapValue } from './level.ts'

/** What a {@link SelfDelimitingValues} is of: the bounds of its values, and what makes them. */
export interface ValueFormat<In> {
  /** The name of the middleware, and that of the format, for errors. */
  readonly owner: string
  readonly name: string
  /** Bytes of a value, at most. */
  readonly maxLength: number
  /** Values within each other, at most. */
  readonly maxDepth: number
  /**
   * Makes the values of a region, which are all whole. An error may say which came before it
   * (`values`), and where it is (`lastPosition`), as those of cbor-x and msgpackr do.
   */
  readonly decode: (region: Buffer) => In[]
  /**
   * Whether `decode` gets one value at a time, for a library that mixes those of one region up.
   *
   * @default false
   */
  readonly oneByOne?: boolean
}

const shownBytes = 16
const empty: Buffer = Buffer.alloc(0)
// V8 compares each number that a Set or Map gets with all others of the same hash, which a peer can
// choose: time that grows with the square of their count.
const mostNumbers = 1024
const mostTwice = 2
// A record costs its keys, and what the library keeps and compiles for it.
const recordSize = 256
const keySize = 16
const leastRecordsSize = 64 * 1024
// Both libraries compile a function for a record that is used so often: some 0.2 ms.
const usesUntilCompiled = 3
const mostCompiled = 512
const bytesPerCompiled = 512

/** A record that the peer has defined. */
interface Known {
  readonly keys: number
  cost: number
  uses: number
}

/**
 * A framing for values that say how many others they hold, or that those go on up to a break. It
 * finds where they end without making them, bounded in length and depth, and keeps its place in one
 * that goes on. Those that came together are made by one call.
 *
 * The library behind `decode` must never see what the scanner did not understand. So a scanner
 * refuses what it does not know, and every form in which the library would count bytes differently.
 *
 * What extends it knows the tokens of the format. One for each connection.
 */
export abstract class SelfDelimitingValues<In> implements Framing<In> {
  /** How far the value under way was looked at, from its start. */
  protected seen = 0
  /** Values still to come at the innermost level, {@link open} up to a break; and its kind. */
  protected left = 1
  protected level: number = Level.any
  /** The same of the levels around it. */
  readonly #lefts: number[] = []
  readonly #levels: number[] = []
  /** Numbers so far in each `Set` and `Map` that is open. */
  readonly #numbers: number[] = []
  #twice = 0
  readonly #records = new Map<number, Known>()
  /** What they cost together; which was defined last; how many have been compiled. */
  #cost = 0
  #defined: Known | undefined
  #compiled = 0
  /** What is being scanned, for errors. */
  #bytes: Buffer = empty
  #start = 0
  #offset = 0
  readonly #format: ValueFormat<In>
  readonly #maxLength: number
  readonly #maxDepth: number

  constructor(format: ValueFormat<In>) {
    this.#format = format
    this.#maxLength = format.maxLength
    this.#maxDepth = format.maxDepth
  }

  end(bytes: Buffer, start: number, offset: number): number {
    this.#bytes = bytes
    this.#start = start
    this.#offset = offset
    const end = this.scan(bytes, start)
    this.#bytes = empty
    if (end - start > this.#maxLength) throw this.#messageTooLong(end - start)
    if (end <= bytes.length) {
      this.seen = 0
      this.left = 1
    }
    return end
  }

  open(bytes: Buffer, ends: readonly number[], into: In[], offset: number): void {
    const { oneByOne } = this.#format
    if (!oneByOne) return this.#make(bytes, 0, ends.at(-1)!, ends.length, into, offset)
    let start = 0
    for (const end of ends) {
      this.#make(bytes, start, end, 1, into, offset)
      start = end
    }
  }

  /**
   * Where the value that begins at `start` ends, as `end` of a {@link Framing} returns it. It begins
   * `seen` bytes after that, with so many `left`, goes into what holds others by `enter` and out of
   * it by `leave`, and returns by `pause`. It looks at no byte after the first `maxLength`, so that
   * a value is refused for the same reason wherever it was cut.
   */
  protected abstract scan(bytes: Buffer, start: number): number

  /**
   * Goes into a value with so many in it, of which it returns how many; `left` come after it. Too
   * many for `maxLength` are refused here, wherever the input was cut: each takes a byte at least.
   */
  protected enter(items: number, left: number, level: number = Level.any): number {
    if (items >= this.#maxLength && items !== Infinity) throw this.#messageTooLong()
    const counted = level >= Level.set
    this.#lefts.push(left)
    this.#levels.push(this.level)
    this.level = level
    // What holds few of them needs no count.
    if (counted && items >= 0 && items <= mostNumbers) this.level = Level.any
    else if (counted) this.#numbers.push(0)
    if (this.#lefts.length <= this.#maxDepth) return items
    throw this.malformed(`is nested deeper than \`maxDepth\`, ${this.#maxDepth}`)
  }

  /** Goes out of levels that have nothing left. Returns what is left; 0 is the end of the value. */
  protected leave(): number {
    let left = 0
    while (left === 0 && this.#lefts.length > 0) {
      if (this.level >= Level.set) this.#numbers.pop()
      else if (this.level === Level.twice) this.#twice -= 1
      left = this.#lefts.pop()!
      this.level = this.#levels.pop()!
    }
    return left
  }

  /** What is left after one more value. */
  protected after(left: number): number {
    if (left > 0) return left - 1
    return left === open ? open : openMap + openMapValue - left
  }

  /** Whether a value is a key, where so many are left in a map. */
  protected isKey(left: number): boolean {
    return left > 0 ? left % 2 === 0 : left === openMap
  }

  /** Counts a number that goes into a `Set` or a `Map`. */
  protected count(left: number): void {
    if (this.level === Level.map && !this.isKey(left)) return
    const numbers = this.#numbers.pop()! + 1
    this.#numbers.push(numbers)
    if (numbers <= mostNumbers) return
    throw this.malformed(`has more than ${mostNumbers} numbers of over 16 bits in a Set or Map`)
  }

  /** Says of the innermost level that the library may read it twice. */
  protected readTwice(): void {
    this.level = Level.twice
    if (++this.#twice <= mostTwice) return
    throw this.malformed('shares values in each other too often')
  }

  /** How many keys a record has; undefined if it is not known. */
  protected record(id: number): number | undefined {
    return this.#records.get(id)?.keys
  }

  /** Takes note of a record, in place of the one with the same id. Its keys follow. */
  protected define(id: number, keys: number): void {
    this.#cost -= this.#records.get(id)?.cost ?? 0
    this.#defined = { keys, cost: 0, uses: 0 }
    this.#records.set(id, this.#defined)
    this.#addCost(recordSize)
  }

  /** Takes note of a key of that record, which has so many bytes. */
  protected key(length: number): void {
    this.#addCost(length + keySize)
  }

  /** Takes note of a use of a record, at a place of what is scanned. */
  protected use(id: number, at: number): void {
    const known = this.#records.get(id)!
    known.uses += 1
    if (known.uses !== usesUntilCompiled) return
    this.#compiled += 1
    if (this.#compiled <= mostCompiled + (this.#offset + at) / bytesPerCompiled) return
    throw this.malformed('defines too many records for how little they are used')
  }

  /** Keeps the place; `needed` is how far the value reaches at least. */
  protected pause(seen: number, left: number, needed: number): number {
    this.seen = seen
    this.left = left
    return needed
  }

  /** The error of a value that is not of the format, or is not read. */
  protected malformed(what: string): CioError {
    const start = this.#start
    const shown = this.#bytes.toString('hex', start, start + shownBytes)
    return syntaxError(this.#format.owner, what, this.#offset + start, shown)
  }

  /** Makes the values of a region. */
  #make(
    bytes: Buffer,
    start: number,
    end: number,
    count: number,
    into: In[],
    offset: number,
  ): void {
    const { owner, name, decode } = this.#format
    const region = end - start === bytes.length ? bytes : bytes.subarray(start, end)
    let values: In[]
    try {
      values = decode(region)
    } catch (thrown) {
      const cause: Error & { values?: In[]; lastPosition?: number } = asError(thrown)
      const { values: before = [], lastPosition = 0 } = cause
      for (const value of before) into.push(value)
      const shown = region.toString('hex', lastPosition, lastPosition + shownBytes)
      const what = `is well-formed ${name} that is not supported`
      throw syntaxError(owner, what, offset + start + lastPosition, shown, cause)
    }
    for (const value of values) into.push(value)
    if (values.length === count) return
    throw syntaxError(owner, 'is ambiguous', offset + start, region.toString('hex', 0, shownBytes))
  }

  /** Records are kept as long as the connection lives, and a peer may number them as it likes. */
  #addCost(size: number): void {
    this.#cost += size
    this.#defined!.cost += size
    if (this.#cost <= Math.max(this.#maxLength, leastRecordsSize)) return
    throw new CioError(
      'ERR_CIO_MESSAGE_TOO_LONG',
      `${this.#format.owner}: the record definitions of the connection take more than \`maxLength\`; raise it, or send without records`,
      { fault: 'remote' },
    )
  }

  #messageTooLong(length?: number): CioError {
    return messageTooLong(this.#format.owner, this.#maxLength, length)
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
