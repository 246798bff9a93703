/** The CBOR tags that are supported, and their content. */

import { Level } from '../../src/messages/nesting-level.ts'

/** The content that a tag allows; anything else is rejected. */
export interface Content {
  readonly majors: readonly number[]
  /** The minimum and maximum number of bytes, or of items. */
  readonly least?: number
  readonly most?: number
  /** The level of its items. */
  readonly level?: number
}

const uint = 0
const negative = 1
const bytes = 2
const text = 3
const array = 4
const map = 5
const tagged = 6
const other = 7

// cbor-x builds a bigint byte by byte, in time that is quadratic in its length.
const maxBigintLength = 1024
const bigint: Content = { majors: [bytes], most: maxBigintLength }
const fraction: Content = { majors: [array], least: 2, most: 2, level: Level.numbers }

/**
 * The tags that cbor-x converts itself. It would convert any other content to a string, or treat it
 * as its own object: `new Uint8Array(n)` of a map allocates n bytes.
 */
const contents = new Map<number, Content>([
  [0, { majors: [text] }],
  [1, { majors: [uint, negative, other] }],
  [2, bigint],
  [3, bigint],
  [4, fraction],
  [5, fraction],
  [27, { majors: [array], least: 2, most: 3, level: Level.texts }],
  [29, { majors: [uint] }],
  [258, { majors: [array], level: Level.set }],
  [259, { majors: [map], level: Level.map }],
])
const firstTypedArray = 64
const lastTypedArray = 87
for (let tag = firstTypedArray; tag <= lastTypedArray; tag++) {
  contents.set(tag, { majors: [bytes] })
}

/** The content that a tag allows; undefined if it allows any. */
export function contentOf(tag: number): Content | undefined {
  return contents.get(tag)
}

/** Tags that may be decoded to numbers. */
const numeric = new Set([2, 3, 4, 5, 28, 29, 55_799])
const shortest32 = 26

/** Whether it is a number of more than 16 bits, which V8 hashes predictably. */
export function isHashed(major: number, low: number, argument: number): boolean {
  if (major === tagged) return numeric.has(argument)
  const isNumber = major === uint || major === negative || major === other
  return isNumber && (low === shortest32 || low === shortest32 + 1)
}

/** String bundles, packed values and shared data: a few bytes of these can cause a lot of work. */
const never = new Set([0xdff9, 51, 0x53687264])
/** Tags of cyclic values. */
const cloned = new Set([28, 29])
/** Records in forms that the encoder of cbor-x does not write. */
const otherRecords = new Set([0xdffe, 105])

/** Whether a tag is rejected with any content. Record tags are checked elsewhere. */
export function isRefused(tag: number, structuredClone: boolean): boolean {
  return never.has(tag) || otherRecords.has(tag) || (!structuredClone && cloned.has(tag))
}

/** Whether an item is allowed as the content of a tag. */
export function fits(content: Content, major: number, argument: number): boolean {
  const { majors, least = 0, most = Infinity } = content
  if (!majors.includes(major)) return false
  // An indefinite length is negative.
  const length = argument < 0 ? Infinity : argument
  return major < bytes || major > map || (length >= least && length <= most)
}

/** The first simple value with a name, and the first that takes two bytes. */
const firstNamed = 20
const leastLong = 32

/** Why a simple value is rejected; undefined if it is accepted. */
export function simpleFault(low: number, value: number): string | undefined {
  if (low >= firstNamed && low < 24) return undefined
  if (low === 24 && value < leastLong) return 'has a simple value in a longer form than allowed'
  return `is well-formed CBOR, with simple value ${value}, which is not supported`
}

/** Why an indefinite length is rejected for anything other than an array or a map. */
export function openFault(major: number): string {
  return major === bytes || major === text
    ? 'has a string of indefinite length, which is not supported'
    : 'has an indefinite length where none is allowed'
}
