/** A request, as its method sees it. */

import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { made } from '../../src/streams/lazy-abort.ts'
import type { Id } from './wire.ts'

/** The second argument of a method. */
export class RpcRequest<Context extends StreamContext = StreamContext> {
  /** The context of its connection. */
  readonly ctx: Context
  /** The name of the method. */
  readonly method: string
  /** Undefined for a notification, which gets no response. */
  readonly id: Id | undefined
  #controller: AbortController | undefined
  #reason: Error | undefined

  constructor(ctx: Context, method: string, id: Id | undefined) {
    this.ctx = ctx
    this.method = method
    this.id = id
  }

  /** Aborts when the caller cancels, or the connection is lost. */
  get signal(): AbortSignal {
    this.#controller ??= made(this.#reason)
    return this.#controller.signal
  }

  /** Whether `signal` has aborted; cheaper than creating the signal. */
  get cancelled(): boolean {
    return this.#reason !== undefined
  }

  /** Aborts its signal. Called by `rpc` only. */
  abort(reason: Error): void {
    this.#reason ??= reason
    this.#controller?.abort(this.#reason)
  }
}
