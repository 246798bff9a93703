/** The options of a session. */

import type { CioError } from '../../src/errors.ts'
import type { StreamHeader } from './stream-header.ts'
import type { Bounds } from './protocol-errors.ts'
import type { MuxStream } from './stream.ts'

/** The limits of a session, and its callbacks. */
export interface SessionOptions extends Bounds {
  /** Whether this side uses the odd stream numbers. */
  readonly initiator: boolean
  /** Handles a stream that the peer opened; fulfils when its handler has ended. */
  accept(this: void, stream: MuxStream, opening: StreamHeader): Promise<void>
  /** The peer violated the protocol: close its connection. */
  fail(this: void, error: CioError): void
  /** The error of all streams when the connection has closed. */
  carrierError(this: void): CioError
  /** The connection is closed; after an orderly close, complete streams can still be read. */
  gone(this: void, error: CioError, isOrderly: boolean): void
}
