/** The bytes that a stream receives after a response, for another HTTP parser of Node. */

import { Duplex } from 'node:stream'

/**
 * A stream of the remaining input, for another parser. It discards writes, because the request was
 * sent already.
 */
export class Rest extends Duplex {
  readonly #stream: Duplex
  readonly #take = (chunk: Buffer): void => void this.push(chunk)
  readonly #end = (): void => void this.push(null)

  constructor(stream: Duplex, head: Buffer) {
    super()
    this.#stream = stream
    if (head.length > 0) this.push(head)
    stream.on('data', this.#take).on('end', this.#end).on('close', this.#end)
  }

  /** Detaches from the stream; returns the bytes after the response. */
  release(head: Buffer): Buffer {
    this.#stream.off('data', this.#take).off('end', this.#end).off('close', this.#end).pause()
    // As Node leaves it after CONNECT: it flows when a listener is attached.
    Object.assign(this.#stream, { readableFlowing: null })
    const left = this.read() as Buffer | null
    return left ? Buffer.concat([head, left]) : head
  }

  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
  }
}
