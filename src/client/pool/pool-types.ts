/** The options, figures and events of a pool. */

import type { ClientContext } from '../client.ts'
import type { ConnectOptions, ConnectTarget } from '../connect-options.ts'
import type { UpstreamState } from './upstream.ts'

/** One target of a {@link Pool}. */
export interface PoolTarget extends ConnectTarget {
  /**
   * Its share of the uses, relative to the other targets.
   *
   * @default 1
   */
  readonly weight?: number
  /**
   * The pool uses the targets with the lowest number that have a connection.
   *
   * @default 0
   */
  readonly priority?: number
}

/** The part of an app that a pool uses. */
export interface ConnectsClients<Client> {
  /** The pipelines of the app: the pool looks for `reconnect`. */
  readonly pipelines: { readonly client: { readonly names: readonly string[] } }
  /** Connects a client, as `app.connect()` does. */
  connect(options: ConnectOptions): Promise<ClientContext & Client>
}

/** A target, as `pool.targets` and the events of a pool show it. */
export interface PoolTargetState {
  /** Its host and port, or its path. */
  readonly place: string
  /** Whether the pool uses it. */
  readonly state: UpstreamState
  /** How many of its connections are ready. */
  readonly connections: number
  /** Uses that have not settled. */
  readonly pending: number
  /** Why the last use or connection failed, since it was last connected. */
  readonly lastError: Error | undefined
}

/** The events of a {@link Pool}. */
export interface PoolEvents {
  /** A target has failed too often, and is not used for `duration` milliseconds. */
  eject: [target: PoolTargetState, duration: number, error: Error]
  /** A target that was ejected is used again. */
  restore: [target: PoolTargetState]
  /** The source has found other targets than before. */
  targets: [targets: readonly PoolTargetState[]]
  /** The source has failed; the pool keeps the targets that it has. */
  resolveError: [error: Error]
}

/** Options of `pool.use()`. */
export interface UseOptions {
  /**
   * Whether the work may be done twice. If it fails, the pool tries it once more, on another
   * target.
   *
   * @default false
   */
  readonly idempotent?: boolean
  /**
   * Ends the wait for a connection, and aborts the signal of the work. Without it, only the pool and
   * the connection do.
   */
  readonly signal?: AbortSignal
}

/** The type of `call`: that of the client's `rpc` or `requests`. */
export type PoolCall<Client> = Client extends { readonly rpc: { readonly call: infer Call } }
  ? Call
  : Client extends { readonly requests: { readonly call: infer Call } }
    ? Call
    : never
