/** Separates answers from requests, and passes each answer to its call. */

import { CioError, asError } from '../../src/errors.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { atOnce } from '../../src/thenable.ts'
import type { PendingCall, PendingCalls } from '../../src/messages/pending-calls.ts'
import type { SendQueue } from '../../src/messages/send-queue.ts'
import type { RequestsOptions } from '../requests.ts'
import type { Serving } from './serving.ts'

/** The input of one connection. */
export class Answers<In, Out> {
  readonly #ctx: StreamContext
  readonly #queue: SendQueue
  readonly #calls: PendingCalls<In>
  readonly #serving: Serving<In, Out> | undefined
  readonly #options: RequestsOptions<In, Out>

  constructor(
    ctx: StreamContext,
    queue: SendQueue,
    calls: PendingCalls<In>,
    serving: Serving<In, Out> | undefined,
    options: RequestsOptions<In, Out>,
  ) {
    this.#ctx = ctx
    this.#queue = queue
    this.#calls = calls
    this.#serving = serving
    this.#options = options
  }

  /** Takes one message; returns a promise while Cio must not read more. */
  take(message: In): unknown {
    const { match, serve, isAnswer } = this.#options
    if (match === 'order') {
      const answers = isAnswer
        ? this.#ask('isAnswer', () => isAnswer(message))
        : serve === undefined
      return answers ? this.#inOrder(message) : this.#request(message)
    }
    const id = this.#ask('idOf', () => match.idOf(message))
    if (id === undefined) return this.#request(message)
    return this.#byId(message, typeof id === 'bigint' ? Number(id) : id)
  }

  #request(message: In): void {
    if (!this.#serving)
      throw this.#error('a message that answers no request, and `serve` is not set')
    this.#serving.take(message)
  }

  #byId(message: In, id: unknown): unknown {
    this.#queue.skip()
    const { isLast, failure } = this.#failureOf(message)
    const call = this.#calls.answered(id, isLast)
    if (call) return settle(call, message, isLast, failure)
    if (this.#calls.isLate(id, isLast)) return undefined
    throw this.#error('an answer whose id was never used')
  }

  #inOrder(message: In): unknown {
    this.#queue.skip()
    const { isLast, failure } = this.#failureOf(message)
    const call = this.#calls.answeredInOrder(isLast)
    if (call) return settle(call, message, isLast, failure)
    throw this.#error('an answer, and no request waits for one')
  }

  #failureOf(message: In): { isLast: boolean; failure: unknown } {
    const { isLast, failure } = this.#options
    const failed = failure && this.#ask('failure', () => failure(message))
    if (failed !== undefined || !isLast) return { isLast: true, failure: failed }
    return { isLast: this.#ask('isLast', () => isLast(message)), failure: undefined }
  }

  /** Calls a function of the options. It throws for a message that the protocol does not allow. */
  #ask<Answer>(option: string, ask: () => Answer): Answer {
    let answer: Answer
    try {
      answer = ask()
    } catch (thrown) {
      throw this.#error('a message that cannot be matched', asError(thrown))
    }
    return atOnce('requests', option, answer)
  }

  #error(what: string, cause?: Error): CioError {
    const why = cause ? `: ${cause.message}` : ''
    const message = `requests: ${this.#ctx.remote} sent ${what}${why}`
    return new CioError('ERR_CIO_SYNTAX', message, { fault: 'remote', cause })
  }
}

function settle<In>(
  call: PendingCall<In>,
  message: In,
  isLast: boolean,
  failure: unknown,
): unknown {
  if (failure !== undefined) {
    const said = failure instanceof Error ? `: ${failure.message}` : ''
    const text = `the other side answered with an error${said}`
    return call.reject(new CioError('ERR_CIO_ANSWER', text, { fault: 'remote', cause: failure }))
  }
  return isLast ? call.resolve(message) : call.parts?.push(message)
}
