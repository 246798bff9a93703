/** The serving side: requests in, responses out. */

import { reportError } from '../../src/lifecycle/app-events.ts'
import { CioError, asError, isCioError } from '../../src/errors.ts'
import { nothing } from '../../src/messages/message-writer.ts'
import type { Pump } from '../../src/messages/pump.ts'
import type { SendQueue } from '../../src/messages/send-queue.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { awaited } from '../../src/thenable.ts'
import { observeRefusal, observeRequest } from './observed-call.ts'
import { RpcRequest } from './request.ts'
import { isOmitted, omittedError } from './omitted-values.ts'
import { type Procedure, invoke } from './procedure.ts'
import { isStreamed, sendStreamed } from './streamed.ts'
import {
  type Received,
  type Response,
  type RpcFailure,
  cancelMethod,
  failed,
  failures,
  invalid,
  isRequest,
  passedOn,
} from './wire.ts'

/** Takes the response of a request, if there is one; returns a promise while it is being sent. */
export type Respond = (response: Response | undefined) => Promise<void> | undefined

/** The requests of one connection. */
export class Requests {
  readonly #ctx: StreamContext
  readonly #pump: Pump
  readonly #procedures: ReadonlyMap<string, Procedure>
  readonly #open = new Set<RpcRequest>()
  readonly #queue: SendQueue
  #told = false

  constructor(
    ctx: StreamContext,
    pump: Pump,
    queue: SendQueue,
    procedures: ReadonlyMap<string, Procedure>,
  ) {
    this.#ctx = ctx
    this.#pump = pump
    this.#procedures = procedures
    this.#queue = queue
  }

  /** Takes a request or notification, and answers it when its method has finished. */
  take(message: Received, respond: Respond = this.#respond): void {
    // A request counts until its response is sent. So Cio stops reading from a peer that does not
    // read.
    this.#pump.begin()
    if (!isRequest(message)) return this.#finish(respond, invalid(message))
    const { method, id, params } = message
    const procedure = this.#procedures.get(method)
    if (procedure && !this.#pump.leaving) {
      return this.#accept(procedure, new RpcRequest(this.#ctx, method, id), params, respond)
    }
    const failure = procedure ? failures.closing : failures.unknownMethod
    if (method === cancelMethod) this.#cancel(params)
    else observeRefusal(this.#ctx, procedure !== undefined, message, failure)
    this.#finish(respond, id === undefined ? undefined : failed(id, failure))
  }

  /**
   * Sends responses when there is room; a response that the codec cannot encode is an internal
   * error.
   */
  send(responses: Response | readonly Response[]): Promise<void> | undefined {
    if (this.#queue.isFree) return this.#send(responses)
    return new Promise((resolve) => this.#queue.answer(() => resolve(this.#send(responses))))
  }

  /** Aborts all running requests: their caller has closed. */
  abort(): void {
    const lost = new CioError('ERR_CIO_CLOSED', 'the caller has closed', { fault: 'remote' })
    for (const request of this.#open) request.abort(lost)
  }

  #send(responses: Response | readonly Response[]): Promise<void> | undefined {
    const sent = this.#pump.send(responses)
    if (sent === nothing) return undefined
    return sent.catch((error: unknown) => {
      if (!isCioError(error, 'ERR_CIO_ENCODE')) throw error
      const encodable = (response: Response): Response => {
        const reason = this.#pump.encodeError(response)
        if (!reason) return response
        this.#tell(reason)
        return failed(response.id, failures.internal)
      }
      return this.#pump.send('id' in responses ? encodable(responses) : responses.map(encodable))
    })
  }

  /** Runs the method, once there is room for its response. */
  #accept(procedure: Procedure, request: RpcRequest, params: unknown, respond: Respond): void {
    if (this.#queue.mayBegin()) return this.#run(procedure, request, params, respond)
    this.#open.add(request)
    this.#queue.park(() => {
      if (!request.cancelled) return this.#run(procedure, request, params, respond)
      this.#open.delete(request)
      const { id } = request
      this.#finish(respond, id === undefined ? id : failed(id, failures.cancelled), true)
    })
  }

  #run(procedure: Procedure, request: RpcRequest, params: unknown, respond: Respond): void {
    const { id } = request
    const observed = observeRequest(request, params)
    const succeed = (result: unknown): void => {
      if (id !== undefined && isStreamed(result)) {
        this.#open.add(request)
        const sent = sendStreamed(result, request, params, this.#pump, this.#queue)
        return void sent.then(succeed, fail)
      }
      this.#open.delete(request)
      if (id !== undefined && isOmitted(result)) return fail(omittedError(request.method))
      observed?.succeeded()
      if (id === undefined) return this.#finish(respond, id, true)
      // JSON omits undefined, and a response without a result is invalid.
      this.#finish(respond, { jsonrpc: '2.0', id, result: result ?? null }, true)
    }
    const fail = (thrown: unknown): void => {
      this.#open.delete(request)
      const failure = this.#failure(request, thrown)
      observed?.failed(thrown, failure.code)
      this.#finish(respond, id === undefined ? id : failed(id, failure), true)
    }
    let result: unknown
    try {
      // Many senders write `null` for an absent member.
      result = invoke(procedure, params ?? undefined, request, observed)
    } catch (thrown) {
      return fail(thrown)
    }
    const pending = awaited(result)
    if (!pending) return succeed(result)
    this.#open.add(request)
    pending.then(succeed, fail)
  }

  #finish(respond: Respond, response: Response | undefined, hasBegun = false): void {
    const sent = respond(response)
    if (!sent) return this.#leave(hasBegun)
    const unsent = (error: unknown): void => this.#pump.fail(asError(error))
    void sent.catch(unsent).then(() => this.#leave(hasBegun))
  }

  #leave(hasBegun: boolean): void {
    if (hasBegun) this.#queue.done()
    this.#pump.end()
  }

  /** The part of an error that the caller may see; the application gets all of it. */
  #failure(request: RpcRequest, thrown: unknown): RpcFailure {
    if (request.cancelled) return failures.cancelled
    const passed = passedOn(thrown)
    if (passed) return passed
    this.#tell(asError(thrown))
    return failures.internal
  }

  #tell(error: Error): void {
    // Not reported without a listener: Cio would print it, and a caller could fill the log.
    const ctx = this.#ctx
    if (!this.#told || ctx.app.listenerCount('error') > 0) reportError(ctx.app, error, ctx)
    this.#told = true
  }

  #cancel(params: unknown): void {
    const { id } = (params ?? {}) as { readonly id?: unknown }
    for (const request of this.#open) {
      if (request.id !== id || id === undefined) continue
      request.abort(new CioError('ERR_CIO_CANCELLED', 'the caller cancelled', { fault: 'remote' }))
    }
  }

  readonly #respond: Respond = (response) => response && this.send(response)
}
