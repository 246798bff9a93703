/** The calling side: requests out, responses in. */

import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { type CallOptions, PendingCalls } from '../../src/messages/pending-calls.ts'
import type { Pump } from '../../src/messages/pump.ts'
import type { SendQueue } from '../../src/messages/send-queue.ts'
import { type Parts, inParts } from '../requests/parts.ts'
import { ObservedCall, isObserved } from './observed-call.ts'
import { type Received, answeredError, cancelMethod } from './wire.ts'

/** The limits for all calls of a connection. */
export interface CallBounds {
  readonly timeout: number
  readonly maxCalls: number
}

interface Progress {
  readonly token?: unknown
  readonly value?: unknown
}

/** The values of a result without parts: such a server answers with all values together. */
function valuesOf(result: unknown): unknown[] {
  if (result === null || result === undefined) return []
  return Array.isArray(result) ? result : [result]
}

const noResult = { message: 'it has neither a result nor an error' }

/** The calls of one connection. */
export class Calls {
  readonly #ctx: StreamContext
  readonly #pending: PendingCalls

  constructor(ctx: StreamContext, pump: Pump, queue: SendQueue, bounds: CallBounds) {
    this.#ctx = ctx
    this.#pending = new PendingCalls(ctx, pump, queue, {
      ...bounds,
      cancel: (id) => ({ jsonrpc: '2.0', method: cancelMethod, params: { id } }),
    })
  }

  /** Whether a response is pending. */
  get waiting(): boolean {
    return this.#pending.pending > 0
  }

  /** Sends a request; settles with its response. */
  call(
    method: string,
    params: unknown,
    options?: CallOptions,
    parts?: Parts<unknown>,
  ): Promise<unknown> {
    if (!isObserved(this.#ctx)) return this.#call(method, params, options, parts)
    const start = { side: 'client', method, isKnown: true, id: undefined, params } as const
    const observed = new ObservedCall(this.#ctx, start)
    const answer = observed.run(() => this.#call(method, observed.params, options, parts))
    // Not its own `then`: that would mark the error as handled by the caller.
    void Promise.prototype.then.call(
      answer,
      () => observed.succeeded(),
      (thrown) => observed.failed(thrown),
    )
    return answer
  }

  /**
   * Sends a request with a token for partial results, and yields each value as it comes. Leaving the
   * loop cancels the request.
   */
  stream(
    method: string,
    params: unknown,
    options: CallOptions,
    maxParts: number,
  ): AsyncGenerator<unknown, void, undefined> {
    // The values of the result itself follow its parts.
    return inParts(maxParts, options, (own, parts) =>
      this.call(method, params, own, parts).then(valuesOf),
    )
  }

  /** Whether `$/progress` is a part of a streamed result, including one that has just ended. */
  hasStream(params: unknown): boolean {
    const { token } = (params ?? {}) as Progress
    return this.#pending.partsOf(token) !== undefined || this.#pending.isLate(token, false)
  }

  /** Takes a part. Returns a promise while Cio must not read more. */
  progress(params: unknown): Promise<void> | undefined {
    const { token, value } = params as Progress
    const parts = this.#pending.partsOf(token)
    // If the result is not streamed, the timeout of the call does not begin again.
    if (!parts) return undefined
    this.#pending.answered(token, false)
    return parts.push(value)
  }

  #call(
    method: string,
    params: unknown,
    options: CallOptions | undefined,
    parts: Parts<unknown> | undefined,
  ): Promise<unknown> {
    const make = (id: number): unknown => {
      if (!parts) return { jsonrpc: '2.0', id, method, params: params ?? undefined }
      return {
        jsonrpc: '2.0',
        id,
        method,
        params: { ...(params as object), partialResultToken: id },
      }
    }
    return this.#pending.call(method, make, options, parts)
  }

  /**
   * Takes a response; false if its id belongs to no request of ours. Late responses are ignored.
   */
  answer(received: Received): boolean {
    const { id, result, error } = received
    const call = this.#pending.answered(id)
    if (!call) return this.#pending.isLate(id)
    // Many senders write `null` for an absent member, so a result may be null.
    if (error !== undefined && error !== null) call.reject(answeredError(call.label, error))
    else if (!('result' in received)) call.reject(answeredError(call.label, noResult))
    else call.resolve(result)
    return true
  }

  /** Rejects pending and future calls: no more responses can arrive. */
  close(): void {
    this.#pending.close()
  }
}
