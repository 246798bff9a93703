/** The extension types of MessagePack that Cio reads. */

import { Unpackr } from 'msgpackr'
import type { ReadValues } from './values.ts'

/** msgpackr's own extensions, and the number of values that follow the bytes of each. */
const plain = { 0x00: 0, 0x42: 0, 0xff: 0 }
const more = { 0x65: 1, 0x73: 1, 0x74: 0, 0x78: 1 }
const cloned = { 0x69: 1, 0x70: 0 }
const never = { 0x62: undefined, 0x72: undefined }
/** The supported extensions, and the number of values that follow their bytes. */
export function followers(moreTypes = false, structuredClone = false): ReadValues['follows'] {
  const known = new Map<number, number | undefined>()
  for (const [read, types] of [
    [true, plain],
    [moreTypes, more],
    [structuredClone, cloned],
    [false, never],
  ] as const) {
    for (const [type, follow] of Object.entries(types)) {
      known.set(Number(type), read ? follow : undefined)
    }
  }
  return (type) => {
    if (!known.has(type)) known.set(type, probe(type))
    return known.get(type)
  }
}

/**
 * Whether a value follows an extension of the application. msgpackr has no API for that. So Cio
 * decodes the extension without a value, and msgpackr fails if one must follow.
 */
function probe(type: number): number {
  try {
    new Unpackr().unpack(Buffer.of(0xd4, type, 0))
    return 0
  } catch (error) {
    return error instanceof Error && 'incomplete' in error && !(error instanceof RangeError) ? 1 : 0
  }
}
