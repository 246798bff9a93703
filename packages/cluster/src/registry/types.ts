/** The registration and its connection, as they see each other. */

import type { MessagesContext, Rpc, StreamContext } from 'cio'

/** The registration of a connection. */
export interface Registration {
  readonly key: string
  /**
   * The fencing token: it rises with each claim of the key, on whichever instance. A store that keeps
   * the highest one can refuse what a connection of before still writes. 0 while not confirmed.
   */
  readonly revision: number
  /** Which of the connections of its key, from 0: always 0 unless `duplicates` is `'all'`. */
  readonly slot: number
  /** Whether the broker has the claim. False after an outage at the start of the connection. */
  readonly isConfirmed: boolean
}

/** What `registry` adds. */
export interface RegistrationContext {
  registration: Registration
}

/** The context of a registered connection, as far as it is used here. */
export type Registered = StreamContext & MessagesContext<unknown, unknown> & { rpc?: Rpc<never> }

/** The calls from other instances that run for a connection, so that they can be cancelled. */
export type Running = Map<string, AbortController>
