/**
 * Finds the end of MessagePack values without decoding them, and decides whether msgpackr may see
 * them.
 */

import { Level } from '../../src/messages/nesting-level.ts'
import {
  type ValueFormat,
  SelfDelimitingValues,
} from '../../src/messages/self-delimiting-values.ts'
import {
  type List,
  count,
  headers,
  isExtension,
  isHashed,
  isList,
  isMap,
  isText,
  readList,
} from './tokens.ts'

/** Extensions to standard MessagePack that Cio reads. */
export interface ReadValues {
  /**
   * The number of values after the bytes of an extension type, 0 or 1; undefined rejects the type.
   */
  readonly follows: (type: number) => number | undefined
  readonly records: boolean
  readonly mapsAsObjects: boolean
}

const none = -1
const recordType = 0x72
const errorType = 0x65
const setType = 0x73
const expressionType = 0x78
const bigintType = 0x42
/** Extension types that may become numbers: bigints, and shared values. */
const numeric = new Set([bigintType, 0x69, 0x70])
// As in cbor: decoding a longer bigint is as slow as printing it.
const longestBigint = 1024
/** The values of one connection. */
export class Values<In> extends SelfDelimitingValues<In> {
  readonly #read: ReadValues
  readonly #maxLength: number
  /** The type of the last extension, if a value has to follow it, or -1. */
  #type = none
  /** The number of strings that must follow. */
  #texts = 0

  constructor(format: ValueFormat<In>, read: ReadValues) {
    super(format)
    this.#read = read
    this.#maxLength = format.maxLength
  }

  protected override scan(bytes: Buffer, start: number): number {
    const limit = Math.min(bytes.length, start + this.#maxLength)
    let at = start + this.seen
    let left = this.left
    for (;;) {
      if (left === 0) left = this.leave()
      if (left === 0) return this.pause(at - start, 0, at)
      if (at >= limit) return this.pause(at - start, left, at + 1)

      const token = bytes[at]!
      // Bytes after the header, and values after those.
      let content = 0
      let items = 0
      let header = 1
      let type = none
      if (token >= 0xc0 && token < 0xe0) {
        header = headers[token - 0xc0]!
        if (header === 0) throw this.malformed('has a byte that begins no value')
        if (at + header > limit) return this.pause(at - start, left, at + header)
        if (token === 0xd4 && bytes[at + 1] === recordType && this.#read.records) {
          const keys = readList(bytes, at + header, limit)
          if (typeof keys === 'number') return this.pause(at - start, left, keys)
          this.#check(token, none, 0, left)
          left = this.#define(bytes[at + 2]!, keys, left - 1)
          at = keys!.from
          continue
        }
        if (isExtension(token)) type = bytes[at + (token < 0xd4 ? header - 1 : 1)]!
        if (token < 0xca || (token >= 0xd9 && token < 0xdc)) content = count(bytes, at, token)
        else if (token >= 0xdc) items = count(bytes, at, token) * (token < 0xde ? 1 : 2)
      } else if (token >= 0x40 && token < 0xc0) {
        if (token < 0x80) items = this.#record(token, at)
        else if (token < 0x90) items = (token & 0x0f) * 2
        else if (token < 0xa0) items = token & 0x0f
        else content = token & 0x1f
      }

      const level = this.#check(token, type, items + content, left)
      if (type !== none) items = this.#extension(type, content)
      at += header + content
      left -= 1
      if (items > 0) left = this.enter(items, left, level)
    }
  }

  /** Checks whether msgpackr may see a value at this place. Returns what the value may contain. */
  #check(token: number, type: number, length: number, left: number): number {
    const before = this.#type
    if (before !== none) {
      this.#type = none
      return this.#following(before, token, length)
    }
    if (this.#texts > 0) {
      this.#texts -= 1
      if (!isText(token)) throw this.malformed('has an object that is not made of texts')
    } else if (this.level === Level.keys) {
      if (!isText(token)) throw this.malformed('defines a record by what is not a text')
      this.key(length)
    } else if (this.level >= Level.set && (isHashed(token) || numeric.has(type))) this.count(left)
    return isMap(token) && !this.#read.mapsAsObjects ? Level.map : Level.any
  }

  /** Checks the value after an extension, which msgpackr would otherwise convert to a string. */
  #following(type: number, token: number, length: number): number {
    const listed = isList(token)
    if (type === setType && listed) return Level.set
    const fits = type === errorType ? length >= 2 && length <= 4 : length === 2
    if (type !== setType && listed && fits) {
      this.#texts = 2
      return Level.any
    }
    throw this.malformed(`has an extension of type ${type} around what it does not take`)
  }

  /** The number of values of a token that may be a record. */
  #record(id: number, at: number): number {
    const keys = this.record(id)
    if (keys === undefined) return 0
    this.use(id, at)
    return keys
  }

  /** The number of values after an extension. */
  #extension(type: number, length: number): number {
    const items = this.#read.follows(type)
    if (items === undefined) {
      const shown = type < 0x80 ? type : type - 0x100
      throw this.malformed(
        `is well-formed MessagePack, with an extension of type ${shown}, which is not supported`,
      )
    }
    if (type === bigintType && length > longestBigint && length <= this.#maxLength)
      throw this.malformed('has too long a bigint')
    if (type === errorType || type === setType || type === expressionType) this.#type = type
    return items
  }

  /** Enters a record, and first its keys. */
  #define(id: number, keys: List | undefined, left: number): number {
    if (!keys || id < 0x40 || id >= 0x80) {
      throw this.malformed('defines a record in another form than msgpackr does')
    }
    this.define(id, keys.count)
    if (keys.count === 0) return left
    return this.enter(keys.count, this.enter(keys.count, left), Level.keys)
  }
}
