/**
 * Finds the ends of CBOR data items without decoding them, and checks whether cbor-x may decode
 * them.
 */

import { Level, open, openMap } from '../../src/messages/nesting-level.ts'
import {
  type ValueFormat,
  SelfDelimitingValues,
} from '../../src/messages/self-delimiting-values.ts'
import {
  type Definition,
  definition,
  firstRecord,
  readArgument,
  readDefinition,
} from './definition.ts'
import { plainSizes } from './plain-sizes.ts'
import { contentOf, fits, isHashed, isRefused, openFault, simpleFault } from './tags.ts'

/** Optional features of cbor-x that are enabled. */
export interface ReadItems {
  readonly records: boolean
  readonly mapsAsObjects: boolean
  readonly structuredClone: boolean
}

const none = -1
const lastRecord = 0xffff
const firstOfRecords = 0xdff9
const breakOrOpen = 31
const shared = 28

/** The items of one connection. */
export class Items<In> extends SelfDelimitingValues<In> {
  readonly #read: ReadItems
  readonly #maxLength: number
  /** The tag before the current item, or -1. */
  #tag = none

  constructor(format: ValueFormat<In>, read: ReadItems) {
    super(format)
    this.#read = read
    this.#maxLength = format.maxLength
  }

  protected override scan(bytes: Buffer, start: number): number {
    const limit = Math.min(bytes.length, start + this.#maxLength)
    let at = start + this.seen
    let left = this.left
    for (;;) {
      if (this.#tag === none && this.level === Level.any) {
        // Most items. Their check below would find nothing, and takes most of the time of a scan.
        while (left > 0 && at < limit) {
          const size = plainSizes[bytes[at]!]!
          if (size === 0 || at + size > limit) break
          at += size
          left -= 1
        }
      }
      if (left === 0) left = this.leave()
      if (left === 0) return this.pause(at - start, 0, at)
      if (at >= limit) return this.pause(at - start, left, at + 1)

      const token = bytes[at]!
      const major = token >> 5
      const low = token & 0x1f
      let argument = low
      let header = 1
      if (low === breakOrOpen) {
        if (token === 0xff && (left === open || left === openMap)) {
          at += 1
          left = 0
          continue
        }
        if (major !== 4 && major !== 5) throw this.malformed(openFault(major))
        argument = major === 4 ? open : openMap
      } else if (low >= 24) {
        if (low > 27) throw this.malformed('has a reserved length')
        header = 1 + 2 ** (low - 24)
        if (at + header > limit) return this.pause(at - start, left, at + header)
        argument = readArgument(bytes, at + 1, low)
        if (low === 27 && major === 3) this.#checkText(argument)
      }

      if (major === 6 && argument === definition && this.#read.records) {
        const defined = readDefinition(bytes, at, limit)
        if (typeof defined === 'number') return this.pause(at - start, left, defined)
        this.#check(major, low, argument, left)
        left = this.#define(defined, this.after(left))
        at = defined!.from
        continue
      }
      const level = this.#check(major, low, argument, left)
      if (major === 6 && this.#read.records && argument >= firstRecord) {
        this.use(argument - firstRecord, at)
      }
      at += header
      left = left > 0 ? left - 1 : this.after(left)
      if (major === 2 || major === 3) at += argument
      else if (major === 6) left = this.enter(1, left)
      else if ((major === 4 || major === 5) && argument !== 0) {
        left = this.enter(major === 5 && argument > 0 ? argument * 2 : argument, left, level)
      }
    }
  }

  /**
   * The native part of cbor-x, which reads texts ahead, fails on a text with a length of eight
   * bytes.
   */
  #checkText(length: number): void {
    if (length > this.#maxLength) return
    throw this.malformed('has a text whose length takes eight bytes, which is not supported')
  }

  /** Checks whether cbor-x may decode an item here. Returns the level of its content. */
  #check(major: number, low: number, argument: number, left: number): number {
    let level: number = major === 5 && !this.#read.mapsAsObjects ? Level.map : Level.any
    const tag = this.#tag
    if (tag !== none) {
      this.#tag = none
      level = this.#content(tag, major, low, argument) ?? level
    } else if (this.level !== Level.any) this.#member(major, low, argument, left)

    if (major === 6) {
      this.#checkTag(argument)
      this.#tag = argument
    } else if (major === 7 && low < 25) {
      const fault = simpleFault(low, argument)
      if (fault) throw this.malformed(fault)
    }
    return level
  }

  /** Checks the content of a tag. */
  #content(tag: number, major: number, low: number, argument: number): number | undefined {
    const { records, mapsAsObjects } = this.#read
    if (records && tag >= firstRecord) {
      const isList = major === 4 && low < 27 && argument === this.record(tag - firstRecord)
      if (isList) return undefined
      throw this.malformed('has a record with a different number of values than of keys')
    }
    // cbor-x reads a value with a cyclic reference twice, unless it is an array or a plain object.
    const isPlain = major === 6 ? records && argument >= definition : major !== 5 || mapsAsObjects
    if (tag === shared && !isPlain) this.readTwice()
    const content = contentOf(tag)
    if (!content) return undefined
    if (fits(content, major, argument)) return content.level
    throw this.malformed(`has tag ${tag} around content of the wrong type`)
  }

  /** Checks an item of a level that allows only some kinds of items. */
  #member(major: number, low: number, argument: number, left: number): void {
    switch (this.level) {
      case Level.numbers:
        if (major < 2 || (major === 6 && (argument === 2 || argument === 3))) return
        throw this.malformed('has a fraction that is not of integers')
      case Level.texts:
        if (major === 3) return
        throw this.malformed('has an object of a class that is not made of texts')
      case Level.keys:
        if (major !== 3) throw this.malformed('defines a record with a key that is not a text')
        return this.key(argument)
      case Level.set:
      case Level.map:
        if (isHashed(major, low, argument)) this.count(left)
    }
  }

  #checkTag(tag: number): void {
    const { records, structuredClone } = this.#read
    if (isRefused(tag, structuredClone))
      throw this.malformed(`has tag ${tag}, which is not supported`)
    if (tag < firstOfRecords) return
    // Without records, these are ordinary tags.
    if (!records && tag !== definition) return
    if (tag >= firstRecord && tag <= lastRecord && this.record(tag - firstRecord) !== undefined) {
      return
    }
    if (records && tag === definition) return
    throw this.malformed(`has tag ${tag}, which belongs to records`)
  }

  /** Enters the values of a record, and then its keys, which come first. */
  #define(defined: Definition | undefined, left: number): number {
    if (!defined) throw this.malformed('defines a record in a form that cbor-x does not write')
    const { id, keys } = defined
    this.#tag = none
    this.define(id, keys)
    if (keys === 0) return left
    return this.enter(keys, this.enter(keys, left), Level.keys)
  }
}
