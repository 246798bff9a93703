/** The context that a stream adds to that of its connection. */

import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { MuxHeaders } from './mux.ts'

/** The additional context of a stream that the peer opened, or that `mux.handle()` runs. */
export interface MuxedContext {
  /** The name, the headers and the parent connection of the stream. */
  readonly muxed: Muxed
}

/** How a stream was opened. */
export interface Muxed {
  /** The name that the opening side chose. An unverified claim, as all data from a peer. */
  readonly name: string
  /** Further headers from that side. The object has no prototype. */
  readonly headers: MuxHeaders
  /** The context of the connection that the stream is in. */
  readonly parent: StreamContext
}
