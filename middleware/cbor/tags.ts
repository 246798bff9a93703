/** Which tags of CBOR are read, and around what. */

import { Level } from '../../src/messages/level.ts'

/** The content of a tag; anything else is refused. */
export interface Content {
  readonly majors: readonly number[]
  /** How many bytes, or how many items, at least and at most. */
  readonly least?: number
  readonly most?: number
  /** The kind of its items. */
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

// cbor-x makes a bigint byte by byte, in time that grows with the square of its length.
const longestBigint = 1024
const bigint: Content = { majors: [bytes], most: longestBigint }
const fraction: Content = { majors: [array], least: 2, most: 2, level: Level.numbers }

/**
 * The tags that cbor-x itself makes something of. Around other content it would convert this to a
 * string or take it for an object of its own: `new Uint8Array(n)` of a map is n bytes.
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

/** The content of a tag; undefined if that may be anything. */
export function contentOf(tag: number): Content | undefined {
  return contents.get(tag)
}

/** Tags that may be numbers once they are read. */
const numeric = new Set([2, 3, 4, 5, 28, 29, 55_799])
const shortest32 = 26

/** Whether it is a number that V8 hashes in a way that a peer can foresee, of more than 16 bits. */
export function isHashed(major: number, low: number, argument: number): boolean {
  if (major === tagged) return numeric.has(argument)
  const isNumber = major === uint || major === negative || major === other
  return isNumber && (low === shortest32 || low === shortest32 + 1)
}

/** String bundles, packed values and shared data: a few bytes of either can ask for a lot of work. */
const never = new Set([0xdff9, 51, 0x53687264])
/** What may be cyclic. */
const cloned = new Set([28, 29])
/** Records in forms that the encoder of cbor-x does not write. */
const otherRecords = new Set([0xdffe, 105])

/** Whether a tag is not read, whatever it stands around. Records are known elsewhere. */
export function isRefused(tag: number, structuredClone: boolean): boolean {
  return never.has(tag) || otherRecords.has(tag) || (!structuredClone && cloned.has(tag))
}

/** Whether an item may stand within a tag. */
export function fits(content: Content, major: number, argument: number): boolean {
  const { majors, least = 0, most = Infinity } = content
  if (!majors.includes(major)) return false
  // Of indefinite length, it is below 0.
  const length = argument < 0 ? Infinity : argument
  return major < bytes || major > map || (length >= least && length <= most)
}

/** The first simple value with a name, and the first that takes two bytes. */
const firstNamed = 20
const leastLong = 32

/** Why a simple value is refused; undefined if it is not. */
export function simpleFault(low: number, value: number): string | undefined {
  if (low >= firstNamed && low < 24) return undefined
  if (low === 24 && value < leastLong) return 'has a simple value that is too long for what it is'
  return `is well-formed CBOR, with simple value ${value}, which is not supported`
}

/** Why an indefinite length is refused, of what is neither an array nor a map. */
export function openFault(major: number): string {
  return major === bytes || major === text
    ? 'has a string of indefinite length, which is not supported'
    : 'has an indefinite length out of place'
}
