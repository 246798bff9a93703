/** Where MessagePack values end, found without making them. */

import {
  type ValueFormat,
  SelfDelimitingValues,
} from '../../src/messages/self-delimiting-values.ts'

/** What is read besides MessagePack's own. */
export interface Read {
  /** How many values follow the bytes of an extension type, 0 or 1; undefined refuses it. */
  readonly follows: (type: number) => number | undefined
  readonly records: boolean
}

const recordType = 0x72
/** Bytes before the content of 0xc0 to 0xdf, with the type of an extension; 0 for what is none. */
const headers = [
  1, 0, 1, 1, 2, 3, 5, 3, 4, 6, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18, 2, 3, 5, 3, 5, 3, 5,
]

/** The values of one connection. */
export class Values<In> extends SelfDelimitingValues<In> {
  readonly #read: Read
  /** How many keys the record of each id has. */
  readonly #records: (number | undefined)[] = []

  constructor(format: ValueFormat<In>, read: Read) {
    super(format)
    this.#read = read
  }

  protected override scan(bytes: Buffer, start: number, offset: number): number {
    const { outer } = this
    let at = start + this.seen
    let left = this.left
    let items = 0
    for (;;) {
      while (left === 0 && outer.length > 0) left = outer.pop()!
      if (left === 0 || at >= bytes.length) {
        return this.pause(at - start, left, at + Math.min(left, 1))
      }

      const token = bytes[at]!
      items = 0
      if (token < 0x40 || token >= 0xe0) {
        at += 1
      } else if (token < 0x80) {
        items = this.#records[token & 0x3f] ?? 0
        at += 1
      } else if (token < 0x90) {
        items = (token & 0x0f) * 2
        at += 1
      } else if (token < 0xa0) {
        items = token & 0x0f
        at += 1
      } else if (token < 0xc0) {
        at += 1 + (token & 0x1f)
      } else {
        const header = headers[token - 0xc0]!
        if (header === 0)
          throw this.malformed('has a byte that begins no value', bytes, start, offset)
        if (at + header > bytes.length) return this.pause(at - start, left, at + header)
        switch (token) {
          case 0xc4:
          case 0xd9:
            at += bytes[at + 1]!
            break
          case 0xc5:
          case 0xda:
            at += (bytes[at + 1]! << 8) | bytes[at + 2]!
            break
          case 0xc6:
          case 0xdb:
            at += bytes.readUInt32BE(at + 1)
            break
          case 0xdc:
            items = (bytes[at + 1]! << 8) | bytes[at + 2]!
            break
          case 0xdd:
            items = bytes.readUInt32BE(at + 1)
            break
          case 0xde:
            items = ((bytes[at + 1]! << 8) | bytes[at + 2]!) * 2
            break
          case 0xdf:
            items = bytes.readUInt32BE(at + 1) * 2
            break
          case 0xc7:
          case 0xc8:
          case 0xc9:
            items = this.#extension(bytes, at + header - 1, start, offset)
            at += bytes.readUIntBE(at + 1, header - 2)
            break
          case 0xd4:
          case 0xd5:
          case 0xd6:
          case 0xd7:
          case 0xd8: {
            const isRecord = bytes[at + 1] === recordType && this.#read.records
            if (isRecord && token === 0xd4) {
              const keys = this.#keys(bytes, at + 3, start, offset)
              if (keys.from > bytes.length) return this.pause(at - start, left, keys.from)
              this.#records[bytes[at + 2]! & 0x3f] = keys.count
              this.defined = true
              items = keys.count * 2
              at = keys.from - header
            } else {
              items = this.#extension(bytes, at + 1, start, offset)
            }
            break
          }
        }
        at += header
      }
      left -= 1
      if (items > 0) left = this.enter(items, left, bytes, start, offset)
    }
  }

  #extension(bytes: Buffer, at: number, start: number, offset: number): number {
    const items = this.#read.follows(bytes[at]!)
    if (items !== undefined) return items
    throw this.malformed(`has an extension of type ${bytes.readInt8(at)}`, bytes, start, offset)
  }

  /** The keys of a record definition: how many, and where they begin. */
  #keys(bytes: Buffer, at: number, start: number, offset: number): { count: number; from: number } {
    const token = bytes[at] ?? 0xdc
    if (token >= 0x90 && token < 0xa0) return { count: token & 0x0f, from: at + 1 }
    const width = token === 0xdc ? 2 : token === 0xdd ? 4 : 0
    if (width === 0) throw this.malformed('has a record without keys', bytes, start, offset)
    const from = at + 1 + width
    return { count: from > bytes.length ? 0 : bytes.readUIntBE(at + 1, width), from }
  }
}
