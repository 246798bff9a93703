/** Reports calls to probes and diagnostic channels. */

import { asError } from '../../src/errors.ts'
import { type CallMessage, calls } from '../../src/lifecycle/channels.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { FoldedProbe, ProbedCall } from '../../src/pipeline/probe.ts'
import type { RpcRequest } from './request.ts'
import { type Id, type Received, type RpcFailure, rpcFailure } from './wire.ts'

type Start = Pick<ProbedCall, 'side' | 'method' | 'isKnown' | 'id' | 'params'>

/** Whether something watches the calls of a connection. */
export function isObserved(ctx: StreamContext): boolean {
  return ctx.app.pipelines[ctx.kind].probe?.call !== undefined || calls.hasSubscribers
}

/** Reports a request of the peer whose method begins; undefined if nothing watches. */
export function observeRequest(
  { ctx, method, id }: RpcRequest,
  params: unknown,
): ObservedCall | undefined {
  if (!isObserved(ctx)) return undefined
  return new ObservedCall(ctx, { side: 'server', method, isKnown: true, id, params })
}

/** A request of the peer that runs no method. */
export function observeRefusal(
  ctx: StreamContext,
  isKnown: boolean,
  { method, id, params }: Received,
  { code, message }: RpcFailure,
): void {
  if (!isObserved(ctx)) return
  const called = { method: String(method), id: id as Id | undefined, params }
  const observed = new ObservedCall(ctx, { side: 'server', isKnown, ...called })
  observed.run(() => {})
  observed.failed(new Error(message), code)
}

/** A call, from its begin to its response. */
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
