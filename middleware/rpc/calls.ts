/** The calling side: pending calls, their timeouts and results. */

import { CioError, asError } from '../../src/errors.ts'
import { checkDuration } from '../../src/options.ts'
import type { Pump } from '../../src/messages/pump.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { handled, isRefused, refused } from '../../src/lifecycle/unawaited.ts'
import { type Received, answeredError, cancelMethod } from './wire.ts'

/** Options of a call. */
export interface CallOptions {
  /** Cancels the call: it rejects with the signal's reason, and Cio notifies the peer. */
  readonly signal?: AbortSignal
  /**
   * Milliseconds to wait for the response; then the call is cancelled. `Infinity` waits as long as
   * the connection lasts.
   *
   * @default the `timeout` of `rpc`
   */
  readonly timeout?: number
}

/** The limits for all calls of a connection. */
export interface CallBounds {
  readonly timeout: number
  readonly maxCalls: number
}

interface Pending {
  readonly method: string
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
  /** When it times out, by `performance.now()`. */
  readonly due: number
  readonly timeout: number
  readonly signal: AbortSignal | undefined
  readonly abort: (() => void) | undefined
}

const noResult = { message: 'it has neither a result nor an error' }

/** The calls of one connection. */
export class Calls {
  readonly #ctx: StreamContext
  readonly #pump: Pump
  readonly #bounds: CallBounds
  readonly #pending = new Map<unknown, Pending>()
  #lastId = 0
  #closed = false
  /** One timer for all calls: a timer for each would cost more than all the rest. */
  #timer: NodeJS.Timeout | undefined
  #nextDue = Infinity

  constructor(ctx: StreamContext, pump: Pump, bounds: CallBounds) {
    this.#ctx = ctx
    this.#pump = pump
    this.#bounds = bounds
  }

  /** Whether a response is pending. */
  get waiting(): boolean {
    return this.#pending.size > 0
  }

  /** Sends a request; settles with its response. */
  call(method: string, params: unknown, options: CallOptions = {}): Promise<unknown> {
    const { signal, timeout = this.#bounds.timeout } = options
    if (options.timeout !== undefined) checkDuration('call', 'timeout', timeout)
    const refusal = this.#refusal(method, signal)
    if (refusal !== undefined) {
      return signal?.aborted
        ? handled(Promise.reject(asError(refusal)))
        : refused(this.#ctx, refusal)
    }

    const id = ++this.#lastId
    // If the connection ends, the call ends with it, and the connection reports the error.
    const answer = new Promise<unknown>((resolve, reject) => {
      const due = performance.now() + timeout
      if (due < this.#nextDue) this.#watch(due)
      const abort = signal && (() => this.#cancel(id, asError(signal.reason)))
      if (abort) signal.addEventListener('abort', abort)
      this.#pending.set(id, { method, resolve, reject, due, timeout, signal, abort })
    })
    const sent = this.#pump.send({ jsonrpc: '2.0', id, method, params: params ?? undefined })
    if (isRefused(sent)) {
      this.#take(id)
      return sent
    }
    sent.catch((error: unknown) => this.#take(id)?.reject(error))
    return handled(answer)
  }

  /**
   * Takes a response; false if its id belongs to no request of ours. Late responses are ignored.
   */
  answer(received: Received): boolean {
    const { id, result, error } = received
    const call = this.#take(id)
    if (!call) return typeof id === 'number' && id <= this.#lastId
    // Many senders write `null` for an absent member, so a result may be null.
    if (error !== undefined && error !== null) call.reject(answeredError(call.method, error))
    else if (!('result' in received)) call.reject(answeredError(call.method, noResult))
    else call.resolve(result)
    return true
  }

  /** Rejects pending and future calls: no more responses can arrive. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    for (const [id, { method }] of this.#pending) this.#take(id)?.reject(closed(method))
  }

  #refusal(method: string, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason
    if (this.#closed) return closed(method)
    if (this.#pending.size < this.#bounds.maxCalls) return undefined
    const many = `${this.#pending.size} calls wait for their answers, as many as \`maxCalls\` allows`
    return new CioError('ERR_CIO_TOO_MANY_CALLS', `\`${method}\` was not called: ${many}`)
  }

  #watch(due: number): void {
    clearTimeout(this.#timer)
    this.#nextDue = due
    if (due < Infinity) this.#timer = setTimeout(this.#expire, due - performance.now())
  }

  readonly #expire = (): void => {
    const now = performance.now()
    let next = Infinity
    for (const [id, { method, due, timeout }] of this.#pending) {
      if (due > now) next = Math.min(next, due)
      else this.#cancel(id, timedOut(method, timeout))
    }
    this.#watch(next)
  }

  #cancel(id: unknown, reason: Error): void {
    const call = this.#take(id)
    if (!call) return
    call.reject(reason)
    void this.#pump.send({ jsonrpc: '2.0', method: cancelMethod, params: { id } })
  }

  #take(id: unknown): Pending | undefined {
    const call = this.#pending.get(id)
    if (!call) return undefined
    this.#pending.delete(id)
    if (call.abort) call.signal?.removeEventListener('abort', call.abort)
    if (this.#pending.size === 0) this.#pump.wake()
    return call
  }
}

function timedOut(method: string, timeout: number): CioError {
  const message = `the peer did not answer \`${method}\` within ${timeout} ms`
  return new CioError('ERR_CIO_CALL_TIMEOUT', message, { fault: 'remote' })
}

function closed(method: string): CioError {
  const message = `the connection was lost or ended before the peer answered \`${method}\``
  return new CioError('ERR_CIO_CLOSED', message, { fault: 'remote' })
}
