/** The frames of `multiplex`: yamux. */

/** Frame types. */
export const Type = { data: 0, window: 1, ping: 2, goAway: 3 } as const
/** Frame flags. */
export const Flag = { syn: 1, ack: 2, fin: 4, rst: 8 } as const
/** Reasons of a go-away frame. */
export const Reason = { ordinary: 0, protocol: 1, internal: 2 } as const

/** Bytes of a frame's header. */
export const headerSize = 12
/** The initial window of every stream, fixed by the protocol. */
export const initialWindow: number = 256 * 1024
/** The largest number in a frame header: stream id or window. */
export const largest: number = 2 ** 32 - 1
/** The header of a frame. In a frame without a payload, `length` has another meaning. */
export interface Header {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly length: number
}

/** Writes a frame header into `target`. */
export function writeHeader(
  target: Buffer,
  at: number,
  type: number,
  flags: number,
  id: number,
  length: number,
): void {
  target.writeUInt16BE(type, at)
  target.writeUInt16BE(flags, at + 2)
  target.writeUInt32BE(id, at + 4)
  target.writeUInt32BE(length, at + 8)
}

/** The bytes of a header as text: often the peer speaks another protocol, which they show. */
export function headerText({ type, flags, id, length }: Header): string {
  const bytes = Buffer.alloc(headerSize)
  writeHeader(bytes, 0, type, flags, id, length)
  return bytes.toString('latin1')
}

/** Receives frames: a payload in the pieces in which it arrived. */
export interface FrameSink {
  frame(header: Header): void
  /** A piece of the last frame's payload, from a chunk of `of` bytes. */
  piece(id: number, bytes: Buffer, of: number): void
  /** The end of the last frame's payload. */
  done(header: Header): void
}

/** Splits the input into frames, however it was chunked. */
export class Frames {
  readonly #sink: FrameSink
  readonly #partial = Buffer.alloc(headerSize)
  #have = 0
  #header: Header | undefined
  #left = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Takes a chunk. */
  take(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#header) at = this.#takePayload(this.#header, chunk, at)
      else at = this.#takeHeader(chunk, at)
    }
  }

  #takePayload(header: Header, chunk: Buffer, at: number): number {
    const end = Math.min(at + this.#left, chunk.length)
    this.#left -= end - at
    this.#sink.piece(header.id, chunk.subarray(at, end), chunk.length)
    if (this.#left === 0) {
      this.#header = undefined
      this.#sink.done(header)
    }
    return end
  }

  #takeHeader(chunk: Buffer, at: number): number {
    if (this.#have === 0 && chunk.length - at >= headerSize) {
      this.#begin(chunk, at)
      return at + headerSize
    }
    const end = Math.min(at + headerSize - this.#have, chunk.length)
    this.#have += chunk.copy(this.#partial, this.#have, at, end)
    if (this.#have === headerSize) {
      this.#have = 0
      this.#begin(this.#partial, 0)
    }
    return end
  }

  #begin(bytes: Buffer, at: number): void {
    // The version (0) and the type.
    const type = bytes.readUInt16BE(at)
    const flags = bytes.readUInt16BE(at + 2)
    const header = {
      type,
      flags,
      id: bytes.readUInt32BE(at + 4),
      length: bytes.readUInt32BE(at + 8),
    }
    this.#sink.frame(header)
    if (type !== Type.data) return
    if (header.length === 0) return this.#sink.done(header)
    this.#header = header
    this.#left = header.length
  }
}
