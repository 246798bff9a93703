/** Frames between DLE STX and DLE ETX, with each DLE of their content doubled. */

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
import { opened, withChecksum } from './stuffing.ts'

const dle = 0x10
const etx = 0x03
const begin = Buffer.of(dle, 0x02)
const end = Buffer.of(dle, etx)

export class DleFormat implements FrameFormat {
  readonly #owner: string
  readonly #checksum: FrameChecksum | undefined

  constructor(owner: string, checksum: FrameChecksum | undefined) {
    this.#owner = owner
    this.#checksum = checksum
  }

  reader(maxLength: number): FrameReader {
    return new DleReader(this.#checksum, maxLength)
  }

  finder(): FindNext {
    return findStart(begin)
  }

  write(message: string | Uint8Array): Buffer {
    const content = withChecksum(bytesOf(this.#owner, message), this.#checksum)
    const doubled: Buffer[] = [begin]
    let from = 0
    for (let at = content.indexOf(dle); at >= 0; at = content.indexOf(dle, from)) {
      doubled.push(content.subarray(from, at + 1), begin.subarray(0, 1))
      from = at + 1
    }
    return Buffer.concat([...doubled, content.subarray(from), end])
  }
}

class DleReader implements FrameReader {
  readonly #checksum: FrameChecksum | undefined
  readonly #maxLength: number
  readonly #longest: number
  /** The frame that is being measured, and the position up to which it was measured. */
  #at = -1
  #seen = 0

  constructor(checksum: FrameChecksum | undefined, maxLength: number) {
    this.#checksum = checksum
    this.#maxLength = maxLength
    this.#longest = 2 * (maxLength + (checksum?.width ?? 0)) + begin.length
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    if (at !== this.#at) {
      this.#at = at
      this.#seen = 0
    }
    const there = bytes.length - start
    for (; this.#seen < begin.length; this.#seen++) {
      if (this.#seen >= there) return begin.length
      if (bytes[start + this.#seen] !== begin[this.#seen]) {
        return new FrameFault('start', 'does not begin with DLE STX')
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
    const raw = bytes.subarray(start + begin.length, until - end.length)
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
