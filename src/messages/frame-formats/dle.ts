/** Frames between DLE STX, or another start with a DLE, and DLE ETX; each DLE of their content is doubled. */

import type { FrameChecksum } from './checksum.ts'
import {
  type FindNext,
  FrameFault,
  type FrameFormat,
  type FrameReader,
  bytesOf,
  tooLong,
} from './format.ts'
import { findStart } from './marked.ts'
import type { OptionCheck } from './option-check.ts'
import { opened, withChecksum } from './stuffing.ts'

const dle = 0x10
const etx = 0x03
/** The start without another one. */
export const dleStx: Buffer = Buffer.of(dle, 0x02)
const end = Buffer.of(dle, etx)

export class DleFormat implements FrameFormat {
  readonly #owner: string
  readonly #checksum: FrameChecksum | undefined
  readonly #start: Buffer

  /** @throws `ERR_CIO_OPTION`: the start could stand in content, or is an end */
  constructor(check: OptionCheck, checksum: FrameChecksum | undefined, start: Buffer) {
    const [first, second] = start
    if (first !== dle || second === dle || second === etx) {
      throw check.refused('a `start` of `dle` begins with one DLE (0x10), and is not DLE ETX')
    }
    this.#owner = check.owner
    this.#checksum = checksum
    this.#start = start
  }

  reader(maxLength: number): FrameReader {
    return new DleReader(this.#checksum, this.#start, maxLength)
  }

  finder(): FindNext {
    return findStart(this.#start)
  }

  write(message: string | Uint8Array): Buffer {
    const content = withChecksum(bytesOf(this.#owner, message), this.#checksum)
    const doubled: Buffer[] = [this.#start]
    let from = 0
    for (let at = content.indexOf(dle); at >= 0; at = content.indexOf(dle, from)) {
      doubled.push(content.subarray(from, at + 1), end.subarray(0, 1))
      from = at + 1
    }
    return Buffer.concat([...doubled, content.subarray(from), end])
  }
}

class DleReader implements FrameReader {
  readonly #checksum: FrameChecksum | undefined
  readonly #start: Buffer
  readonly #maxLength: number
  readonly #longest: number
  /** The frame that is being measured, and the position up to which it was measured. */
  #at = -1
  #seen = 0

  constructor(checksum: FrameChecksum | undefined, start: Buffer, maxLength: number) {
    this.#checksum = checksum
    this.#start = start
    this.#maxLength = maxLength
    this.#longest = 2 * (maxLength + (checksum?.width ?? 0)) + start.length
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    if (at !== this.#at) {
      this.#at = at
      this.#seen = 0
    }
    const there = bytes.length - start
    const mark = this.#start
    for (; this.#seen < mark.length; this.#seen++) {
      if (this.#seen >= there) return mark.length
      if (bytes[start + this.#seen] !== mark[this.#seen]) {
        return new FrameFault('start', `does not begin with ${mark.toString('hex')}`)
      }
    }
    if (mark.length === 1) {
      const next = bytes[start + 1]
      if (next === undefined) return mark.length + 1
      // Such a DLE stands in content, or in an end.
      if (next === dle || next === etx) {
        return new FrameFault('start', 'has DLE or ETX after the DLE that it begins with')
      }
    }
    for (;;) {
      const found = bytes.indexOf(dle, start + this.#seen)
      const length = (found < 0 ? bytes.length : found) - start
      this.#seen = length
      if (length > this.#longest) return tooLong()
      const next = found < 0 ? undefined : bytes[found + 1]
      if (next === undefined) return there + 1
      if (next === etx) return length + end.length
      if (next !== dle) return notDoubled(length)
      this.#seen = length + 2
    }
  }

  open(bytes: Buffer, start: number, until: number): Buffer | FrameFault {
    const raw = bytes.subarray(start + this.#start.length, until - end.length)
    return opened(single(raw), this.#checksum, this.#maxLength)
  }
}

/** Searched bytes count for `resync`: other frames may seem to begin in them, and end at the same place. */
function notDoubled(length: number): FrameFault {
  const fault = new FrameFault('escape', 'has a DLE that is not doubled')
  return Object.assign(fault, { looked: length })
}

/** The content, with each doubled DLE as one. */
function single(raw: Buffer): Buffer {
  const first = raw.indexOf(dle)
  if (first < 0) return raw
  const content = Buffer.allocUnsafe(raw.length - 1)
  let to = 0
  for (let at = 0; at < raw.length; at++) {
    content[to++] = raw[at]!
    if (raw[at] === dle) at += 1
  }
  return content.subarray(0, to)
}
