/** The search for the next good frame after a bad one, within bounds. */

import { emitSafely } from '../../lifecycle/app-events.ts'
import type { StreamContext } from '../../lifecycle/stream-context.ts'
import { putBack } from '../../streams/put-back.ts'
import { syntaxError, truncatedMessage } from '../frame-decoder.ts'
import { PartialMessage } from '../partial-message.ts'
import type { Decoder } from '../codec.ts'
import {
  type FaultPart,
  type FindNext,
  FrameFault,
  type FrameFormat,
  type FrameReader,
  shownHex,
} from './format.ts'
import type { OptionCheck } from './option-check.ts'
import type { Resync } from './options.ts'

const defaultMaxSkipped = 65_536
/** Bytes that may be checked without success for each received byte, in the long run. */
const mostInVain = 8

/** The bytes that were skipped between two good frames. */
export interface OutOfStep {
  /** The invalid part of the first bad frame, such as its checksum. */
  readonly why: FaultPart
  /** Bytes that were skipped. */
  readonly skipped: number
  /** The first of them, as hexadecimal digits. */
  readonly first: string
}

declare module '../../lifecycle/app.ts' {
  interface AppEvents {
    /** A codec with `resync` has skipped bytes, and found a good frame after them. */
    outOfStep: [what: OutOfStep, ctx: StreamContext]
  }
}

/** The bytes that may be skipped; undefined without `resync`. @throws `ERR_CIO_OPTION` */
export function checkedResync(
  check: OptionCheck,
  resync: boolean | Resync | undefined,
  format: FrameFormat,
): number | undefined {
  if (resync === undefined || resync === false) return undefined
  if (!format.finder()) {
    throw check.refused(
      '`resync` needs a mark to search for: `start` (of each in `oneOf`), `delimiter` or `stuffing`',
    )
  }
  if (resync === true) return defaultMaxSkipped
  check.object('resync', resync, 'true, false, or an object with `maxSkipped`')
  const inside = check.within('resync')
  inside.names(resync, ['maxSkipped'])
  const { maxSkipped = defaultMaxSkipped } = resync
  if (maxSkipped !== Infinity) {
    inside.whole('maxSkipped', maxSkipped, 1, Number.MAX_SAFE_INTEGER)
  }
  return maxSkipped
}

/** The parts of a {@link ResyncDecoder}. */
export interface Resyncing<In> {
  readonly owner: string
  readonly ctx: StreamContext
  readonly format: FrameFormat
  readonly maxLength: number
  readonly maxSkipped: number
  readonly map: (frame: Buffer, at: number) => In
}

/**
 * Cuts bytes into frames. After a bad frame it searches for the next good one, from the second byte of
 * the bad one on, since a wrong length may cover good frames.
 */
export class ResyncDecoder<In> implements Decoder<In> {
  readonly remainder: PartialMessage = new PartialMessage()
  readonly #resyncing: Resyncing<In>
  readonly #reader: FrameReader
  readonly #next: FindNext
  #needed = 0
  /** Position of the first byte held. */
  #offset = 0
  /** Why the last frame was bad, while there is no good one after it. */
  #fault: FrameFault | undefined
  /** Whether it searches for a mark: the first byte held need not be the beginning of a frame. */
  #searching = false
  #first = ''
  /**
   * Bytes skipped since the last good frame, and bytes checked without success that good bytes have
   * not offset.
   */
  #skipped = 0
  #inVain = 0
  /** Position before which nothing is searched for. */
  #searchFrom = 0
  #gaveUp = false

  constructor(resyncing: Resyncing<In>) {
    this.#resyncing = resyncing
    this.#reader = resyncing.format.reader(resyncing.maxLength, true)
    this.#next = resyncing.format.finder()!
  }

  decode(chunk: Buffer, into: In[]): void {
    const { remainder } = this
    const held = remainder.length > 0
    if (held) remainder.append(chunk)
    const bytes = held ? remainder.bytes : chunk
    if (bytes.length < this.#needed) return
    const start = this.#frames(bytes, into, false)
    if (held && start === 0) return
    // Not copied: a search goes on byte by byte, with a long frame behind it.
    if (held) remainder.drop(start)
    else if (start < bytes.length) remainder.append(start > 0 ? bytes.subarray(start) : bytes)
    this.#offset += start
  }

  end(into: In[]): void {
    const { remainder } = this
    const { length } = remainder
    if (length === 0 && !this.#fault) return
    // The rest of this frame will not come, but its bytes may contain other frames.
    if (length > 0) this.#frames(remainder.bytes, into, true)
    if (this.#fault) throw truncatedMessage(this.#resyncing.owner, this.#skipped)
  }

  /**
   * Gives up the incomplete frame: searches its bytes for other frames.
   */
  giveUp(): void {
    if (this.#searching) return
    const held = this.remainder.bytes
    this.remainder.clear()
    this.#needed = 0
    this.#gaveUp = true
    putBack(this.#resyncing.ctx.stream, held)
  }

  /** Cuts bytes into frames; returns the position of the first byte that is left. */
  #frames(bytes: Buffer, into: In[], isEnd: boolean): number {
    let start = 0
    this.#needed = 0
    while (start < bytes.length) {
      if (this.#searching) {
        const givenUp = Math.min(this.#searchFrom - this.#offset, bytes.length)
        if (givenUp > start) {
          this.#skip(bytes, start, givenUp)
          start = givenUp
          continue
        }
        const found = this.#next(bytes, start, this.#offset)
        // At the end, the beginning of a mark is not one.
        const to = found >= 0 ? found : isEnd ? Math.min(-found, bytes.length) : -1 - found
        this.#skip(bytes, start, isEnd ? bytes.length : to)
        start = to
        if (found >= 0) this.#searching = false
        else if (!isEnd) break
        continue
      }
      const end = this.#frame(bytes, start, into, isEnd)
      if (typeof end === 'number' && end > bytes.length) {
        this.#needed = end - start
        break
      }
      if (typeof end === 'number') start = end
      else start = this.#lose(bytes, start, end)
    }
    return start
  }

  /** Reads one frame; returns its end, which may be beyond the bytes, or why it is bad. */
  #frame(bytes: Buffer, start: number, into: In[], isEnd: boolean): number | FrameFault {
    if (this.#gaveUp) {
      this.#gaveUp = false
      return new FrameFault('gap', 'has a gap')
    }
    const at = this.#offset + start
    const length = this.#reader.measure(bytes, start, at)
    if (typeof length !== 'number') {
      this.#checkedInVain(this.#costOf(length), at)
      return length
    }
    const end = start + length
    if (end > bytes.length) return isEnd ? new FrameFault('gap', 'is cut off') : end
    const content = this.#reader.open(bytes, start, end, at)
    if (content instanceof FrameFault) {
      this.#checkedInVain(length, at)
      return content
    }
    this.#makeUp(length)
    if (content === undefined) return end
    if (this.#fault) this.#inStep(this.#fault)
    into.push(this.#resyncing.map(content, at))
    return end
  }

  #lose(bytes: Buffer, start: number, fault: FrameFault): number {
    if (!this.#fault) {
      this.#fault = fault
      this.#first = shownHex(bytes, start)
    }
    this.#searching = true
    this.#skip(bytes, start, start + 1)
    return start + 1
  }

  #skip(bytes: Buffer, start: number, to: number): void {
    this.#skipped += to - start
    this.#makeUp(to - start)
    const { owner, maxSkipped } = this.#resyncing
    if (this.#skipped + this.#inVain <= maxSkipped) return
    const what = `${this.#fault!.what}, and no good frame came within \`maxSkipped\``
    throw syntaxError(owner, what, this.#offset + start, shownHex(bytes, start))
  }

  /**
   * Counts bytes that were checked without success. Once they are too many, where a larger `maxSkipped`
   * lets the search go on, it gives up these bytes: to search them again and again would take the time
   * of all connections. A good frame that a wrong length covers is lost then.
   */
  #checkedInVain(count: number, at: number): void {
    this.#inVain += count
    const most = Math.max(defaultMaxSkipped, mostInVain * this.#resyncing.maxLength)
    if (this.#inVain > most) this.#searchFrom = at + count
  }

  /** The cost of finding a fault. It does not depend on where the input is cut. */
  #costOf({ part, length, looked }: FrameFault): number {
    if (looked > 0) return looked
    // To read an announced length takes no search.
    return part === 'long' && length === 0 ? this.#resyncing.maxLength : 0
  }

  /** Bytes that are skipped or delivered offset others that were checked without success. */
  #makeUp(count: number): void {
    this.#inVain = Math.max(0, this.#inVain - mostInVain * count)
  }

  #inStep({ part }: FrameFault): void {
    const { ctx } = this.#resyncing
    const what = { why: part, skipped: this.#skipped, first: this.#first }
    this.#fault = undefined
    this.#skipped = 0
    emitSafely(ctx.app, 'outOfStep', what, ctx)
  }
}
