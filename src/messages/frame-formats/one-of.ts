/** Several frame formats on one connection, chosen by how a frame begins. */

import { isCioError } from '../../errors.ts'
import {
  type FindNext,
  FrameFault,
  type FrameFormat,
  type FrameReader,
  encodeError,
} from './format.ts'

/** A format, and the mark that its frames begin with; empty for any. */
export interface Choice {
  readonly start: Buffer
  readonly format: FrameFormat
}

export class OneOfFormat implements FrameFormat {
  readonly #owner: string
  readonly #choices: readonly Choice[]

  constructor(owner: string, choices: readonly Choice[]) {
    this.#owner = owner
    this.#choices = choices
  }

  reader(maxLength: number): FrameReader {
    return new OneOfReader(
      this.#choices.map(({ start, format }) => ({ start, reader: format.reader(maxLength) })),
    )
  }

  finder(): FindNext | undefined {
    const finders = this.#choices.map(({ start, format }) =>
      start.length > 0 ? format.finder() : undefined,
    )
    if (finders.includes(undefined)) return undefined
    return (bytes, from, at) => {
      const found = finders.map((find) => find!(bytes, from, at))
      // A mark that may begin before the first one that was found is waited for. Otherwise the result
      // would depend on where the input is cut.
      const first = Math.min(...found.map((place) => (place >= 0 ? place : -1 - place)))
      return found.includes(first) ? first : -1 - first
    }
  }

  /** The first format that has a frame for the message. */
  write(content: string | Uint8Array): Buffer {
    let why: unknown
    for (const { format } of this.#choices) {
      try {
        const frame = format.write(content)
        const fault = notReadBack(this.reader(Infinity), frame)
        if (fault === undefined) return frame
        why ??= encodeError(this.#owner, fault)
      } catch (error) {
        if (!isCioError(error, 'ERR_CIO_ENCODE')) throw error
        why ??= error
      }
    }
    throw why
  }
}

class OneOfReader implements FrameReader {
  readonly #choices: readonly { readonly start: Buffer; readonly reader: FrameReader }[]
  readonly #longest: number
  /** The last two places where a frame goes on behind a flag that came alone, at the end of a chunk. */
  #behind: readonly { readonly at: number; readonly reader: FrameReader }[] = []

  constructor(choices: readonly { readonly start: Buffer; readonly reader: FrameReader }[]) {
    this.#choices = choices
    this.#longest = Math.max(...choices.map(({ start }) => start.length))
  }

  measure(bytes: Buffer, start: number, at: number): number | FrameFault {
    const reader = this.#chosen(bytes, start, at)
    if (reader === undefined) return bytes.length - start + 1
    if (reader instanceof FrameFault) return reader
    const length = reader.measure(bytes, start, at)
    // With the rest in one chunk, the flag would begin its frame.
    const isLast = typeof length === 'number' && start + length === bytes.length
    if (isLast && reader.open(bytes, start, bytes.length, at) === undefined) {
      this.#behind = [...this.#behind.slice(-1), { at: at + length, reader }]
    }
    return length
  }

  open(bytes: Buffer, start: number, end: number, at: number): Buffer | FrameFault | undefined {
    const reader = this.#chosen(bytes, start, at)
    if (reader instanceof FrameFault) return reader
    return reader?.open(bytes, start, end, at)
  }

  /** The first format whose start is there; undefined while one may still follow. */
  #chosen(bytes: Buffer, start: number, at: number): FrameReader | FrameFault | undefined {
    const going = this.#behind.find((one) => one.at === at)
    if (going) return going.reader
    const there = Math.min(this.#longest, bytes.length - start)
    for (const { start: mark, reader } of this.#choices) {
      const length = Math.min(mark.length, there)
      if (mark.compare(bytes, start, start + length, 0, length) !== 0) continue
      return length === mark.length ? reader : undefined
    }
    return new FrameFault('start', 'begins with no start of `oneOf`')
  }
}

/** Why a reader would not find exactly this frame; undefined if it would. */
export function notReadBack(reader: FrameReader, frame: Buffer): string | undefined {
  let found = 0
  for (let start = 0; start < frame.length;) {
    const length = reader.measure(frame, start, start)
    if (length instanceof FrameFault) return `would be refused, since it ${length.what}`
    const end = start + length
    if (end > frame.length) return 'would be read as the beginning of a longer one'
    const content = reader.open(frame, start, end, start)
    if (content instanceof FrameFault) return `would be refused, since it ${content.what}`
    if (content !== undefined) found += 1
    start = end
  }
  if (found === 1) return undefined
  return found === 0 ? 'would not be seen, since it is empty' : 'would be read as more than one'
}
