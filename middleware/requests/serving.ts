/** The serving side: the requests of the other side, and their answers. */

import { CioError, asError } from '../../src/errors.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { handled } from '../../src/lifecycle/unawaited.ts'
import { awaited } from '../../src/thenable.ts'
import type { Pump } from '../../src/messages/pump.ts'
import type { SendQueue } from '../../src/messages/send-queue.ts'
import { made } from '../../src/streams/lazy-abort.ts'
import { AnswersInOrder, type Place } from './answers-in-order.ts'

/** A request of the other side, as `serve` sees it. */
export interface ServedRequest<Out> {
  /** Aborts when the connection is lost. */
  readonly signal: AbortSignal
  /** Sends a part before the answer; fulfils when you may send the next one. */
  readonly send: (part: Out) => Promise<void>
}

/** The `serve` of the options. */
export type Serve<In, Out> = (
  message: In,
  request: ServedRequest<Out>,
) => Out | undefined | void | PromiseLike<Out | undefined | void>

/** The requests of one connection. */
export class Serving<In, Out> {
  readonly #ctx: StreamContext
  readonly #pump: Pump
  readonly #queue: SendQueue
  readonly #serve: Serve<In, Out>
  readonly #order: AnswersInOrder | undefined
  readonly #open = new Set<Served<Out>>()

  constructor(
    ctx: StreamContext,
    pump: Pump,
    queue: SendQueue,
    serve: Serve<In, Out>,
    isOrdered: boolean,
  ) {
    this.#ctx = ctx
    this.#pump = pump
    this.#queue = queue
    this.#serve = serve
    this.#order = isOrdered ? new AnswersInOrder() : undefined
  }

  /** Takes a message that is not an answer. */
  take(message: In): void {
    // While the connection drains, Cio does not serve requests; their callers notice that by the
    // end of the connection.
    if (this.#pump.leaving) return
    // A request counts until its answer is sent. So Cio stops reading from a side that does not
    // read.
    this.#pump.begin()
    const request = new Served<Out>(this.#order?.enter(), (answer) => this.#send(answer))
    this.#open.add(request)
    if (this.#queue.mayBegin()) this.#run(message, request)
    else this.#queue.park(() => this.#run(message, request))
  }

  /** Aborts the signals of all requests: the caller has disconnected. */
  abort(): void {
    const message = `${this.#ctx.remote} is gone`
    const lost = new CioError('ERR_CIO_CLOSED', message, { fault: 'remote' })
    for (const request of this.#open) request.abort(lost)
    this.#order?.close()
  }

  #run(message: In, request: Served<Out>): void {
    let answer: ReturnType<Serve<In, Out>>
    try {
      answer = this.#serve(message, request)
    } catch (thrown) {
      return this.#fail(request, thrown)
    }
    const pending = awaited(answer)
    if (!pending) return this.#answer(request, answer as Out | undefined | void)
    pending.then(
      (settled) => this.#answer(request, settled),
      (thrown: unknown) => this.#fail(request, thrown),
    )
  }

  #answer(request: Served<Out>, answer: Out | undefined | void): void {
    const sent = request.end(answer)
    if (!sent) return this.#leave(request)
    sent.then(
      () => this.#leave(request),
      (thrown: unknown) => this.#fail(request, thrown),
    )
  }

  /**
   * Without this answer the caller would wait, and in order it would get the answer to another
   * request.
   */
  #fail(request: Served<Out>, thrown: unknown): void {
    this.#pump.fail(asError(thrown))
    void request.end(undefined)
    this.#leave(request)
  }

  #leave(request: Served<Out>): void {
    this.#open.delete(request)
    this.#queue.done()
    this.#pump.end()
  }

  #send(message: Out): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.answer(() => resolve(this.#pump.send(message)))
    })
  }
}

/** One request, as `serve` sees it. */
class Served<Out> implements ServedRequest<Out> {
  readonly #place: Place | undefined
  readonly #write: (message: Out) => Promise<void>
  #controller: AbortController | undefined
  #reason: Error | undefined
  #isOver = false

  constructor(place: Place | undefined, write: (message: Out) => Promise<void>) {
    this.#place = place
    this.#write = write
  }

  get signal(): AbortSignal {
    this.#controller ??= made(this.#reason)
    return this.#controller.signal
  }

  // Not a method, so that `serve` may use it without the object.
  readonly send = (part: Out): Promise<void> =>
    handled(this.#isOver ? Promise.reject(answeredError()) : this.#enqueue(part))

  /** Sends the answer, if any, and ends the request. */
  end(answer: Out | undefined | void): Promise<void> | undefined {
    if (this.#isOver) return undefined
    this.#isOver = true
    const sent = answer === undefined ? undefined : this.#enqueue(answer)
    this.#place?.end()
    return sent
  }

  abort(reason: Error): void {
    this.#reason ??= reason
    this.#controller?.abort(this.#reason)
  }

  #enqueue(message: Out): Promise<void> {
    const place = this.#place
    if (!place) return this.#write(message)
    return new Promise((resolve) => place.run(() => resolve(this.#write(message))))
  }
}

function answeredError(): CioError {
  return new CioError('ERR_CIO_CLOSED', 'the request was answered, and takes no more parts')
}
