/** The input of a stream, for a library that reads an answer, and not what follows it. */

import { Duplex } from 'node:stream'
import { leaveUnread } from './reading.ts'

/**
 * Passes on what a stream receives, until {@link giveBack}. Nothing is read before the library listens,
 * and each chunk reaches it at once: in the next turn the stream may have ended, and takes nothing back.
 */
export abstract class BorrowedInput extends Duplex {
  protected readonly stream: Duplex
  #reads = false
  readonly #take = (chunk: Buffer): void => this.receive(chunk)
  readonly #end = (): void => void this.push(null)
  readonly #fail = (error: Error): void => void this.destroy(error)

  constructor(stream: Duplex) {
    // It closes with the end of the input, which libraries wait for.
    super({ allowHalfOpen: false })
    this.stream = stream
    stream.on('error', this.#fail)
  }

  protected receive(chunk: Buffer): void {
    this.push(chunk)
  }

  /** Detaches from the stream, which is then as if nothing had read it, and begins with these bytes. */
  giveBack(bytes: Buffer): void {
    this.stream.off('data', this.#take).off('end', this.#end).off('close', this.#end)
    this.stream.off('error', this.#fail).pause()
    // It flows when a listener is attached.
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
