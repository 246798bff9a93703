/** One request, as its method sees it. */

import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { Id } from './wire.ts'

/** One call of a method: what a method gets beside its parameters. */
export class RpcRequest {
  /** The connection that it came over. */
  readonly ctx: StreamContext
  readonly method: string
  /** Undefined for a notification, which has no answer. */
  readonly id: Id | undefined
  #controller: AbortController | undefined
  #reason: Error | undefined

  constructor(ctx: StreamContext, method: string, id: Id | undefined) {
    this.ctx = ctx
    this.method = method
    this.id = id
  }

  /** Aborts when the caller cancels, or the connection is lost. */
  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      if (this.#reason) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** Whether `signal` has aborted; costs less than to ask for the signal. */
  get cancelled(): boolean {
    return this.#reason !== undefined
  }

  /** Aborts its signal: for the middleware that made it. */
  abort(reason: Error): void {
    this.#reason ??= reason
    this.#controller?.abort(this.#reason)
  }
}
