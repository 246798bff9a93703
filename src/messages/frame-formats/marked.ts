/** Adds marks and a checksum to a kind of frame format. */

import type { FrameChecksum } from './checksum.ts'
import {
  type FindNext,
  FrameFault,
  type FrameFormat,
  type FrameReader,
  bytesOf,
  encodeError,
} from './format.ts'
import type { FrameKind, KindReader, Layout } from './kinds.ts'
import { MarkSearch, partialMark } from './search.ts'

/** Frames with a body, and optionally a start, a checksum and an end. */
export class MarkedFormat implements FrameFormat {
  readonly #layout: Layout
  readonly #kind: FrameKind
  readonly #checksum: FrameChecksum | undefined
  readonly #finder: (() => FindNext) | undefined

  constructor(
    layout: Layout,
    kind: FrameKind,
    checksum: FrameChecksum | undefined,
    afterDelimiter?: () => (bytes: Buffer, from: number, at: number) => number,
  ) {
    this.#layout = layout
    this.#kind = kind
    this.#checksum = checksum
    if (layout.start.length > 0) this.#finder = () => findStart(layout.start)
    else if (afterDelimiter) {
      this.#finder = () => findAfter(afterDelimiter(), kind.tail.length, layout.behind)
    }
  }

  reader(maxLength: number): FrameReader {
    return new MarkedReader(this.#layout, this.#kind.reader(maxLength), this.#checksum)
  }

  finder(): FindNext | undefined {
    return this.#finder?.()
  }

  write(content: string | Uint8Array): Buffer {
    const body = bytesOf(this.#layout.owner, content)
    return this.#layout.whole ? this.#patched(body) : this.#around(body)
  }

  /** The frame around a body. */
  #around(body: Uint8Array): Buffer {
    const { start, end, trailer, behind } = this.#layout
    const field = this.#kind.field(body.length)
    const { tail } = this.#kind
    const header = start.length + field.length
    const frame = Buffer.allocUnsafe(header + body.length + trailer + tail.length)
    start.copy(frame)
    field.copy(frame, start.length)
    frame.set(body, header)
    const between = behind > 0 ? tail.length : 0
    const until = frame.length - tail.length - end.length + between
    end.copy(frame, until)
    tail.copy(frame, frame.length - tail.length - behind)
    this.#checksum?.write(frame, start.length, header, until, between)
    return frame
  }

  /** A copy of a whole frame with the right length, checksum and end. */
  #patched(whole: Uint8Array): Buffer {
    const { owner, start, end, trailer, behind } = this.#layout
    const frame = Buffer.from(whole)
    if (!start.equals(frame.subarray(0, start.length))) {
      throw encodeError(owner, `does not begin with ${start.toString('hex')}`)
    }
    this.#kind.patch(frame)
    const reader = this.#kind.reader(Infinity)
    const tail = this.#tailOf(frame, reader)
    const between = behind > 0 ? tail : 0
    const until = frame.length - tail - end.length + between
    if (until < start.length + trailer - end.length) {
      throw encodeError(owner, 'is too short for its marks and checksum')
    }
    end.copy(frame, until)
    if (this.#checksum) {
      this.#checksum.write(frame, start.length, reader.header(frame, 0), until, between)
    }
    return frame
  }

  #tailOf(frame: Buffer, reader: KindReader): number {
    if (this.#kind.tail.length === 0) return 0
    const measured = reader.measure(frame, 0, 0)
    const { owner, behind } = this.#layout
    if (measured === frame.length) return reader.tail(frame, frame.length - behind)
    throw encodeError(owner, 'does not end with its first delimiter')
  }
}

class MarkedReader implements FrameReader {
  readonly #start: Buffer
  readonly #end: Buffer
  readonly #whole: boolean
  readonly #behind: number
  readonly #kind: KindReader
  readonly #checksum: FrameChecksum | undefined
  readonly #noStart: FrameFault
  readonly #noEnd: FrameFault

  constructor({ start, end, whole, behind }: Layout, kind: KindReader, checksum?: FrameChecksum) {
    this.#start = start
    this.#end = end
    this.#whole = whole
    this.#behind = behind
    this.#kind = kind
    this.#checksum = checksum
    // Made once, since a search returns the first of them for almost every byte.
    this.#noStart = new FrameFault('start', `does not begin with ${start.toString('hex')}`)
    this.#noEnd = new FrameFault('end', `does not end with ${end.toString('hex')}`)
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    const mark = this.#start
    for (let index = 0; index < mark.length; index++) {
      if (start + index >= bytes.length) return mark.length
      if (bytes[start + index] !== mark[index]) return this.#noStart
    }
    return this.#kind.measure(bytes, start, at)
  }

  open(bytes: Buffer, start: number, end: number): Buffer | FrameFault {
    const mark = this.#end
    const header = start + this.#kind.header(bytes, start)
    const behind = this.#behind
    const tail = this.#kind.tail(bytes, end - behind)
    const between = behind > 0 ? tail : 0
    const until = end - tail - mark.length + between
    for (let index = 0; index < mark.length; index++) {
      if (bytes[until + index] !== mark[index]) return this.#noEnd
    }
    const checksum = this.#checksum
    const bodyEnd = checksum ? until - checksum.width - between : until
    const body = this.#whole ? undefined : bytes.subarray(header, bodyEnd)
    if (checksum) {
      const afterStart = start + this.#start.length
      const fault = checksum.faultOf(bytes, start, afterStart, header, until, between, body)
      if (fault) return fault
    }
    return body ?? bytes.subarray(start, end)
  }
}

/** Finds the next start mark. */
export function findStart(mark: Buffer): FindNext {
  const search = new MarkSearch(mark)
  return (bytes, from, at) => {
    const found = search.find(bytes, from, at)
    return found >= 0 ? found : -1 - (bytes.length - partialMark(bytes, from, mark))
  }
}

/** Finds where a frame begins: `behind` bytes after the end of the next delimiter. */
export function findAfter(
  endOf: (bytes: Buffer, from: number, at: number) => number,
  longest: number,
  behind = 0,
): FindNext {
  return (bytes, from, at) => {
    const end = endOf(bytes, Math.max(0, from - longest), at)
    if (end < 0) return -1 - Math.max(from, bytes.length - longest + 1)
    // It is found again, with the bytes behind it.
    return end + behind <= bytes.length ? end + behind : -1 - Math.max(from, end - longest)
  }
}
