/** Calls as probes and diagnostic channels see them. */

import { asError } from '../../src/errors.ts'
import { type CallMessage, calls } from '../../src/lifecycle/channels.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { FoldedProbe, ProbedCall } from '../../src/pipeline/probe.ts'
import { rpcFailure, type Id } from './wire.ts'

type Start = Pick<ProbedCall, 'side' | 'method' | 'isKnown' | 'id' | 'params'>

/** Whether something watches the calls of a connection. */
export function isObserved(ctx: StreamContext): boolean {
  return ctx.app.pipelines[ctx.kind].probe?.call !== undefined || calls.hasSubscribers
}

export class ObservedCall implements ProbedCall {
  readonly side: ProbedCall['side']
  readonly method: string
  readonly isKnown: boolean
  readonly id: Id | undefined
  params: unknown
  code: number | undefined
  error: Error | undefined
  duration = 0
  readonly #ctx: StreamContext
  readonly #probe: FoldedProbe<StreamContext> | undefined
  readonly #message: CallMessage | undefined
  readonly #began: number = performance.now()

  constructor(ctx: StreamContext, start: Start) {
    this.side = start.side
    this.method = start.method
    this.isKnown = start.isKnown
    this.id = start.id
    this.params = start.params
    this.#ctx = ctx
    const probe = ctx.app.pipelines[ctx.kind].probe as FoldedProbe<StreamContext> | undefined
    this.#probe = probe?.call && probe
    this.#message = calls.hasSubscribers ? { ctx, call: this } : undefined
  }

  /** Starts the method, or sends the request. */
  run<Result>(work: () => Result): Result {
    let outcome: { readonly result: Result } | undefined
    let thrown: unknown
    const once = (): void => {
      try {
        outcome = { result: work() }
      } catch (error) {
        thrown = error
      }
    }
    const probed = (): void => {
      if (this.#probe) this.#probe.call!(this.#ctx, this, once)
      else once()
    }
    if (this.#message) {
      calls.start.runStores(this.#message, probed)
      calls.end.publish(this.#message)
    } else probed()
    if (outcome) return outcome.result
    throw thrown
  }

  /** The call has a result. */
  succeeded(): void {
    this.#over()
  }

  /** The method has thrown, or the call rejects. */
  failed(thrown: unknown, code: number | undefined = rpcFailure(thrown)?.code): void {
    this.error = asError(thrown)
    this.code = code
    this.#over()
  }

  #over(): void {
    this.duration = performance.now() - this.#began
    this.#probe?.called(this.#ctx, this)
    const message = this.#message
    if (!message) return
    if (this.error) {
      message.error = this.error
      calls.error.publish(message)
    }
    calls.asyncStart.publish(message)
    calls.asyncEnd.publish(message)
  }
}
