import type { Duplex } from 'node:stream'
import { atOnce } from '../../src/thenable.ts'

/** The direction of a chunk: from the other side, or to it. */
export type Direction = 'in' | 'out'

/** The bounds of a recording. */
export interface Bounds {
  readonly bytes: number
  readonly duration: number
  readonly redact: (chunk: Buffer, direction: Direction) => Uint8Array
}

interface Internals {
  push(chunk: unknown, encoding?: BufferEncoding): boolean
  _write(chunk: Buffer | string, encoding: BufferEncoding, done: Done): void
  _writev?: ((chunks: readonly Written[], done: Done) => void) | null
}
interface Written {
  readonly chunk: Buffer | string
  readonly encoding: BufferEncoding
}
type Done = (error?: Error | null) => void

/** The lines of one recording. It notes chunks as they pass a stream, and does not delay them. */
export class Recording {
  readonly lines: object[] = []
  /** The value that `redact` threw. Then nothing is written. */
  failed: unknown
  isCut = false
  readonly #began = performance.now()
  readonly #bounds: Bounds
  #left: number

  constructor(bounds: Bounds) {
    this.#bounds = bounds
    this.#left = bounds.bytes
  }

  /** Milliseconds since the recording began. */
  get at(): number {
    return Math.round((performance.now() - this.#began) * 1_000) / 1_000
  }

  /** Begins to note the chunks that pass a stream; returns a function that stops it. */
  attach(stream: Duplex): () => void {
    const inner = stream as unknown as Internals
    const push = inner.push.bind(stream)
    const write = inner._write.bind(stream)
    const writev = inner._writev?.bind(stream)
    const before = (['push', '_write', '_writev'] as const).map(
      (name) => [name, Object.getOwnPropertyDescriptor(inner, name)] as const,
    )
    if (stream.readableLength > 0) {
      // Notes bytes that a middleware before this one has put back.
      const waiting = stream.read() as Buffer | null
      if (waiting) {
        this.#note('in', waiting)
        stream.unshift(waiting)
      }
    }
    inner.push = (chunk, encoding) => {
      if (chunk === null) this.lines.push({ at: this.at, in: null })
      else this.#note('in', chunk as Buffer, encoding)
      return push(chunk, encoding)
    }
    inner._write = (chunk, encoding, done) => {
      this.#note('out', chunk, encoding)
      write(chunk, encoding, done)
    }
    if (writev) {
      inner._writev = (chunks, done) => {
        for (const { chunk, encoding } of chunks) this.#note('out', chunk, encoding)
        writev(chunks, done)
      }
    }
    return () => {
      for (const [name, own] of before) {
        if (own) Object.defineProperty(inner, name, own)
        // Removed, so that the stream has the method of its class again.
        else Reflect.deleteProperty(inner, name)
      }
    }
  }

  #note(direction: Direction, chunk: Uint8Array | string, encoding?: BufferEncoding): void {
    if (this.isCut || this.failed !== undefined) return
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.from(chunk)
    // Would count for nothing, however many there are.
    if (bytes.length === 0) return
    if (bytes.length > this.#left || this.at > this.#bounds.duration) {
      this.isCut = true
      return
    }
    this.#left -= bytes.length
    try {
      const kept = atOnce('record', 'redact', this.#bounds.redact(bytes, direction))
      this.lines.push({ at: this.at, [direction]: Buffer.from(kept).toString('base64') })
    } catch (thrown) {
      this.failed = thrown
    }
  }
}
