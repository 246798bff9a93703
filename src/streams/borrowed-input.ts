/** The input of a stream, for a library that reads one answer and leaves the bytes after it. */

import { Duplex } from 'node:stream'
import { leaveUnread } from './reading.ts'

/**
 * Passes on what a stream receives, until {@link giveBack}. It reads nothing before the library
 * listens. Each chunk reaches the library at once: in the next turn the stream may have ended, and
 * then it takes no bytes back.
 */
export abstract class BorrowedInput extends Duplex {
  protected readonly stream: Duplex
  #reads = false
  readonly #take = (chunk: Buffer): void => this.receive(chunk)
  readonly #end = (): void => void this.push(null)
  readonly #fail = (error: Error): void => void this.destroy(error)

  constructor(stream: Duplex) {
    // It closes with the end of the input, because libraries wait for that.
    super({ allowHalfOpen: false })
    this.stream = stream
    stream.on('error', this.#fail)
  }

  protected receive(chunk: Buffer): void {
    this.push(chunk)
  }

  /**
   * Detaches from the stream, and puts these bytes back. Then the stream is as if nothing had read
   * it.
   */
  giveBack(bytes: Buffer): void {
    this.stream.off('data', this.#take).off('end', this.#end).off('close', this.#end)
    this.stream.off('error', this.#fail).pause()
    // A listener for `data` makes the stream flow.
    Object.assign(this.stream, { readableFlowing: null })
    const unread = this.read() as Buffer | null
    leaveUnread(this.stream, unread ? Buffer.concat([bytes, unread]) : bytes)
  }

  override _read(): void {
    if (this.#reads) return
    this.#reads = true
    this.stream.on('data', this.#take).on('end', this.#end).on('close', this.#end)
  }
}
