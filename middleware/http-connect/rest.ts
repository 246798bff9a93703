/** What a stream receives after a response, given to a parser of Node's once more. */

import { Duplex } from 'node:stream'

/** The rest of what a stream receives, for another parser; what is written was sent already. */
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

  /** Lets go of the stream; what came behind the response. */
  release(head: Buffer): Buffer {
    this.#stream.off('data', this.#take).off('end', this.#end).off('close', this.#end).pause()
    // As Node leaves it after CONNECT: it flows when somebody listens.
    Object.assign(this.#stream, { readableFlowing: null })
    const left = this.read() as Buffer | null
    return left ? Buffer.concat([head, left]) : head
  }

  override _read(): void {}

  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
  }
}
