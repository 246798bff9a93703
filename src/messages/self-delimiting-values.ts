/** Self-delimiting values, as in CBOR and MessagePack: each ends where its nesting ends. */

import { CioError, asError } from '../errors.ts'
import { type Framing, syntaxError, messageTooLong } from './frame-decoder.ts'
import { Level, open, openMap, openMapValue } from './nesting-level.ts'

/** Options of {@link SelfDelimitingValues}: the bounds of its values, and their decoder. */
export interface ValueFormat<In> {
  /** The names of the middleware and the format, for errors. */
  readonly owner: string
  /** The name of the middleware. */
  readonly name: string
  /** Maximum bytes of a value. */
  readonly maxLength: number
  /** Maximum nesting depth. */
  readonly maxDepth: number
  /**
   * Decodes a region of complete values. Its error may contain the values before it (`values`) and
   * its position (`lastPosition`), as in cbor-x and msgpackr.
   */
  readonly decode: (region: Buffer) => In[]
  /**
   * Passes one value at a time to `decode`, for a library that confuses the values of one region.
   *
   * @default false
   */
  readonly oneByOne?: boolean
}

const shownBytes = 16
const empty: Buffer = Buffer.alloc(0)
// Hash flooding: V8 compares each number in a Set or Map with all others of the same hash. A peer
// can choose these, so that the time grows with the square of their count.
const mostNumbers = 1024
const mostTwice = 2
// The cost of a record: its keys, and what the library stores and compiles for it.
const recordSize = 256
const keySize = 16
const leastRecordsSize = 64 * 1024
// After this many uses of a record, both libraries compile a function for it, which takes about 0.2
// ms.
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
 * A frame format for values that announce the number of their elements, or continue up to a break.
 * It finds their ends without decoding them, bounded in length and depth, and keeps its place in
 * incomplete values. Values that arrive together are decoded by one call.
 *
 * The library behind `decode` must never see input that the scanner did not understand. So the
 * scanner refuses unknown input, and every form for which the library would count bytes
 * differently.
 *
 * A subclass knows the tokens of the format. One for each connection.
 */
export abstract class SelfDelimitingValues<In> implements Framing<In> {
  /** How far the current value was scanned, from its start. */
  protected seen = 0
  /** Values still expected at the innermost level, or {@link open} up to a break; and its kind. */
  protected left = 1
  protected level: number = Level.any
  /** The same for the outer levels. */
  readonly #lefts: number[] = []
  readonly #levels: number[] = []
  /** Numbers so far in each open `Set` and `Map`. */
  readonly #numbers: number[] = []
  #twice = 0
  readonly #records = new Map<number, Known>()
  /** Their total cost, the last definition, and the number of compiled ones. */
  #cost = 0
  #defined: Known | undefined
  #compiled = 0
  /** The scanned bytes, for errors. */
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

  /** Decodes the values that end at `ends`, for the frame decoder. */
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
   * The end of the value at `start`, as `end` of a {@link Framing} returns it. The scan resumes
   * `seen` bytes after `start`, with `left` values to come. It calls `enter` and `leave` for
   * containers, and returns by `pause`. It reads no byte after the first `maxLength`, so that a
   * value is refused for the same reason wherever it was cut.
   */
  protected abstract scan(bytes: Buffer, start: number): number

  /**
   * Enters a container, and returns its number of values; `left` come after it. It refuses more
   * than fit into `maxLength`, wherever the input was cut, since each takes at least one byte.
   */
  protected enter(items: number, left: number, level: number = Level.any): number {
    if (items >= this.#maxLength && items !== Infinity) throw this.#messageTooLong()
    const counted = level >= Level.set
    this.#lefts.push(left)
    this.#levels.push(this.level)
    this.level = level
    // Small containers need no count.
    if (counted && items >= 0 && items <= mostNumbers) this.level = Level.any
    else if (counted) this.#numbers.push(0)
    if (this.#lefts.length <= this.#maxDepth) return items
    throw this.malformed(`is nested deeper than \`maxDepth\`, ${this.#maxDepth}`)
  }

  /** Leaves finished levels. Returns the number of values left; 0 is the end of the value. */
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

  /** Whether the next value is a key, given the number left in a map. */
  protected isKey(left: number): boolean {
    return left > 0 ? left % 2 === 0 : left === openMap
  }

  /** Counts a number in a `Set` or a `Map`. */
  protected count(left: number): void {
    if (this.level === Level.map && !this.isKey(left)) return
    const numbers = this.#numbers.pop()! + 1
    this.#numbers.push(numbers)
    if (numbers <= mostNumbers) return
    throw this.malformed(`has more than ${mostNumbers} numbers of over 16 bits in a Set or Map`)
  }

  /** Marks the innermost level as one that the library may read twice. */
  protected readTwice(): void {
    this.level = Level.twice
    if (++this.#twice <= mostTwice) return
    throw this.malformed('shares values in each other too often')
  }

  /** The number of keys of a record; undefined if the record is unknown. */
  protected record(id: number): number | undefined {
    return this.#records.get(id)?.keys
  }

  /** Registers a record, and replaces the one with the same id. Its keys follow. */
  protected define(id: number, keys: number): void {
    this.#cost -= this.#records.get(id)?.cost ?? 0
    this.#defined = { keys, cost: 0, uses: 0 }
    this.#records.set(id, this.#defined)
    this.#addCost(recordSize)
  }

  /** Registers a key of that record, with its length in bytes. */
  protected key(length: number): void {
    this.#addCost(length + keySize)
  }

  /** Registers a use of a record, at a position of the scanned bytes. */
  protected use(id: number, at: number): void {
    const known = this.#records.get(id)!
    known.uses += 1
    if (known.uses !== usesUntilCompiled) return
    this.#compiled += 1
    if (this.#compiled <= mostCompiled + (this.#offset + at) / bytesPerCompiled) return
    throw this.malformed('defines too many records for how little they are used')
  }

  /** Keeps the place; `needed` is a lower bound for the end of the value. */
  protected pause(seen: number, left: number, needed: number): number {
    this.seen = seen
    this.left = left
    return needed
  }

  /** The error of a value that is malformed or not supported. */
  protected malformed(what: string): CioError {
    const start = this.#start
    const shown = this.#bytes.toString('hex', start, start + shownBytes)
    return syntaxError(this.#format.owner, what, this.#offset + start, shown)
  }

  /** Decodes the values of a region. */
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

  /** Records live as long as the connection, and a peer may choose any id. */
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
 * A stateful encoder of one connection. It sends some things only once, such as the keys of a
 * record. After an error it may rely on something that was not sent. So Cio creates it again, and
 * it sends everything again.
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
