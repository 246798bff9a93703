/** The options of a session. */

import type { CioError } from '../../src/errors.ts'
import type { StreamHeader } from './stream-header.ts'
import type { Bounds } from './protocol-errors.ts'
import type { MuxStream } from './stream.ts'

/** The bounds of a session, and its callbacks. */
export interface SessionOptions extends Bounds {
  /** Whether this side's streams have odd numbers. */
  readonly initiator: boolean
  /** Takes a stream that the peer has opened; fulfils when all that it started is over. */
  accept(this: void, stream: MuxStream, opening: StreamHeader): Promise<void>
  /** The peer has broken the rules: its connection has to go. */
  fail(this: void, error: CioError): void
  /** The connection is gone; where that was orderly, what has come whole may still be read. */
  gone(this: void, error: CioError, isOrderly: boolean): void
}
