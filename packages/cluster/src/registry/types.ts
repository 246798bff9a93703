/** The types that a registration and its connection share. */

import type { CallOptions, MessagesContext, Rpc, StreamContext } from 'cio'

/** The registration of a connection. */
export interface Registration {
  readonly key: string
  /**
   * The fencing token: it rises with each claim of the key, on any instance. A store that keeps the
   * highest token can refuse late writes of an earlier connection. 0 while not confirmed.
   */
  readonly revision: number
  /**
   * The number of this connection among those of its key, from 0. Always 0 unless `duplicates` is
   * `'all'`.
   */
  readonly slot: number
  /** Whether the broker has the claim. False if the broker was down when the connection began. */
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

type Called<Method> = Method extends (...args: infer Args) => unknown ? Args : never
type Returned<Method> = Method extends (...args: never[]) => infer Result ? Awaited<Result> : never

/** Calls a method of a registered connection: as `ctx.rpc.call()`, with the key before it. */
export type RemoteCall<Remote> = <Method extends keyof Remote & string>(
  key: string,
  method: Method,
  ...[params, options]: [] extends Called<Remote[Method]>
    ? [params?: Called<Remote[Method]>[0], options?: CallOptions]
    : [params: Called<Remote[Method]>[0], options?: CallOptions]
) => Promise<Returned<Remote[Method]>>
