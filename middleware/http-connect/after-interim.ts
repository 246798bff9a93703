/** The input after an interim response, for another HTTP parser of Node. */

import { BorrowedInput } from '../../src/streams/borrowed-input.ts'

/** It discards writes, because the request was sent already. */
export class AfterInterim extends BorrowedInput {
  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done()
  }
}
