/** The answers of a SOCKS5 proxy, for the library that reads them. */

import { BorrowedInput } from '../../src/streams/borrowed-input.ts'

/**
 * One byte at a time, so that the library takes no byte after the last answer. The library pauses
 * the stream when it has that answer.
 */
export class Answers extends BorrowedInput {
  protected override receive(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; at++) {
      this.push(chunk.subarray(at, at + 1))
      if (this.isPaused()) return this.giveBack(chunk.subarray(at + 1))
    }
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: () => void): void {
    if (this.stream.write(chunk, encoding)) done()
    else this.stream.once('drain', done)
  }
}
