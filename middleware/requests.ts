import { CioError } from '../src/errors.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { provide } from '../src/lifecycle/provide.ts'
import { refused } from '../src/lifecycle/unawaited.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type CallOptions, PendingCalls } from '../src/messages/pending-calls.ts'
import { Pump } from '../src/messages/pump.ts'
import { SendQueue } from '../src/messages/send-queue.ts'
import { Answers } from './requests/answers.ts'
import { atOnce } from '../src/thenable.ts'
import { checkOptions } from './requests/check-options.ts'
import { type Parts, inParts } from './requests/parts.ts'
import { type Serve, type ServedRequest, Serving } from './requests/serving.ts'

export type { ServedRequest }

/** How a protocol with ids carries them. */
export interface MatchById<In, Out> {
  /** The id of the request that a message answers; undefined if it answers none. */
  readonly idOf: (message: In) => unknown
  /** A request with its id. */
  readonly withId: (request: Out, id: number) => Out
  /**
   * The largest id that fits: 65_535 for 16 bits. After it, ids begin again at 1.
   *
   * @default 2_147_483_647
   */
  readonly maxId?: number
  /**
   * Makes the message that cancels a call that was given up; undefined sends none.
   *
   * @default none
   */
  readonly cancel?: (id: number) => Out | undefined
}

/** Options of {@link requests}. */
export interface RequestsOptions<In, Out = In> {
  /** How answers find their requests: in the order of the requests, or by an id. */
  readonly match: 'order' | MatchById<In, Out>
  /**
   * With `match: 'order'`: whether a message is an answer. Other messages go to `serve`.
   *
   * @default without `serve` every message is an answer; with it, none is
   */
  readonly isAnswer?: (message: In) => boolean
  /**
   * Whether a message is the last part of an answer.
   *
   * @default every message is
   */
  readonly isLast?: (answer: In) => boolean
  /**
   * The error in an answer; undefined if the answer is not an error. The call rejects with
   * `ERR_CIO_ANSWER`, whose `cause` is that error.
   *
   * @default no answer is an error
   */
  readonly failure?: (answer: In) => unknown
  /**
   * Handles each message that answers no call: a request, whose answer it returns, or a message
   * without an answer. Without it, such a message ends the connection.
   */
  readonly serve?: Serve<In, Out>
  /**
   * Milliseconds to wait for an answer, and for each further part of it. A call may set its own.
   * `Infinity` waits as long as the connection lasts.
   *
   * @default 30_000
   */
  readonly timeout?: number
  /**
   * Maximum number of calls that wait for an answer or for room. Further calls reject. `Infinity`
   * is unlimited.
   *
   * @default 1_000
   */
  readonly maxCalls?: number
  /**
   * Maximum number of requests that are served at once; beyond it, Cio stops reading until one is
   * answered, unless calls of this side wait for answers. `Infinity` is unlimited.
   *
   * @default 100
   */
  readonly maxServed?: number
  /**
   * Maximum number of parts of a `stream()` that wait to be taken; then Cio stops reading.
   *
   * @default 16
   */
  readonly maxParts?: number
}

/** What {@link requests} adds. */
export interface RequestsContext<In, Out = In> {
  /** The calls of the connection. */
  requests: Requests<In, Out>
}

/**
 * Matches answers with requests, by id or in order, over any codec, both ways.
 *
 * For protocols with requests and responses that are not JSON-RPC (correlation ids, pipelining):
 * Redis and SMTP answer in order, most binary protocols by an id. Either side may call and serve. A
 * call waits for room while the other side does not read. After a call was given up, its late
 * answer never reaches another call. With ids, Cio does not use its id again until its answer has
 * come. In order, the call keeps its place; if the answer takes more than twice the timeout, Cio
 * ends the connection.
 *
 * An error that `serve` throws ends the connection: return the error message of the protocol
 * instead. While the connection drains, Cio serves no more requests.
 *
 * @pipelines connection, client
 * @order after a codec and after what `serve` needs, since requests may arrive at once
 * @adds `ctx.requests`
 * @needs `ctx.messages`
 * @rejects `ERR_CIO_SYNTAX` (remote): an answer to no request, or a request without `serve`;
 *   `ERR_CIO_CALL_TIMEOUT` (remote): in order, a place was open for twice its timeout; the codec's
 *   errors; `ERR_CIO_NO_MESSAGES` (local): there is no codec before it. A call: `ERR_CIO_ANSWER`
 *   (remote): the answer is an error; `ERR_CIO_CALL_TIMEOUT` (remote): no answer in time;
 *   `ERR_CIO_ANSWER_LOST` (remote): the connection was lost after the call was sent;
 *   `ERR_CIO_CLOSED` (remote): it was lost before; `ERR_CIO_TOO_MANY_CALLS` (local): `maxCalls`
 *   wait, or all ids are taken; `ERR_CIO_ENCODE` (local)
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio, json, requests } from 'cio'
 *
 * interface Message { id?: number; re?: number; text: string }
 *
 * const match = {
 *   idOf: ({ re }: Message) => re,
 *   withId: (request: Message, id: number) => ({ ...request, id }),
 * }
 * const serve = ({ id, text }: Message) => ({ re: id!, text: text.toUpperCase() })
 * const app = new Cio()
 *   .useConnection(json<Message>())
 *   .useConnection(requests<Message>({ match, serve }))
 *   .useClient(json<Message>())
 *   .useClient(requests<Message>({ match }))
 * const server = await app.listen(0)
 * const client = await app.connect(server.port)
 * console.log(await client.requests.call({ text: 'hello' })) // { re: 1, text: 'HELLO' }
 * await app.close()
 */
export function requests<In, Out = In>(
  options: RequestsOptions<In, Out>,
): Middleware<StreamContext & MessagesContext<In, Out>, RequestsContext<In, Out>> {
  const { match, serve, isAnswer, timeout, maxCalls, maxServed, maxParts } = checkOptions(options)
  const byId = match === 'order' ? undefined : match

  return defineMiddleware<StreamContext & MessagesContext<In, Out>, RequestsContext<In, Out>>(
    { name: 'requests', pipelines: ['connection', 'client'] },
    async function requests(ctx, next) {
      const pump = new Pump(ctx as unknown as StreamContext & MessagesContext<unknown>, {
        owner: 'requests',
        maxRunning: maxServed,
        take: (message) => answers.take(message as In),
        // Answers may come behind requests in the input, and `serve` may wait for these answers.
        readsOn: () => calls.pending > 0 && queue.mayPark,
        expects: () => calls.pending > 0,
        ended: () => calls.close(),
        closed() {
          calls.close()
          serving?.abort()
        },
      })
      const queue = new SendQueue(ctx, pump, maxServed)
      const { maxId = defaultMaxId, cancel } = byId ?? {}
      const calls = new PendingCalls<In>(ctx, pump, queue, {
        timeout,
        maxCalls,
        ...(byId ? { maxId, ...(cancel && { cancel }) } : { match: 'order' }),
      })
      const serving = serve && new Serving(ctx, pump, queue, serve, !byId)
      const answers = new Answers(ctx, queue, calls, serving, options)
      const canCall = byId !== undefined || serve === undefined || isAnswer !== undefined
      const refuse = canCall ? undefined : () => refused(ctx, noAnswersError())
      const own = new Requests<In, Out>(queue, calls, byId?.withId, maxParts, refuse)
      await provide(ctx, 'requests', own, () => {
        pump.start()
        return pump.run(next)
      })
    },
  )
}

const defaultMaxId = 2 ** 31 - 1

/** Requests to the other side of a connection. */
export class Requests<In, Out = In> {
  readonly #queue: SendQueue
  readonly #calls: PendingCalls<In>
  readonly #withId: ((request: Out, id: number) => Out) | undefined
  readonly #maxParts: number
  readonly #refuse: (() => Promise<never>) | undefined

  constructor(
    queue: SendQueue,
    calls: PendingCalls<In>,
    withId: ((request: Out, id: number) => Out) | undefined,
    maxParts: number,
    refuse: (() => Promise<never>) | undefined,
  ) {
    this.#queue = queue
    this.#calls = calls
    this.#withId = withId
    this.#maxParts = maxParts
    this.#refuse = refuse
  }

  /**
   * How many calls wait for an answer or for room. In order, calls that were given up count too.
   */
  get pending(): number {
    return this.#calls.pending
  }

  /** How many answers came too late, after their calls were given up. Cio ignores such answers. */
  get late(): number {
    return this.#calls.late
  }

  /**
   * Sends a request; fulfils with its answer, or with the last part of the answer.
   *
   * @throws `ERR_CIO_ANSWER`, `ERR_CIO_CALL_TIMEOUT`, `ERR_CIO_ANSWER_LOST`, `ERR_CIO_CLOSED`
   *   (remote)
   * @throws `ERR_CIO_TOO_MANY_CALLS`, `ERR_CIO_ENCODE`, `ERR_CIO_OPTION` (local), or the reason of
   *   `signal`
   */
  call(request: Out, options?: CallOptions): Promise<In> {
    return this.#call(request, options)
  }

  /**
   * Sends a request when the loop begins, and yields the parts of its answer. Leaving the loop
   * cancels the call. While `maxParts` parts wait to be taken, Cio reads nothing from the
   * connection.
   *
   * @throws as `call()` does, in the loop
   */
  stream(request: Out, options: CallOptions = {}): AsyncGenerator<In, void, undefined> {
    return inParts(this.#maxParts, options, (own, parts: Parts<In>) =>
      this.#call(request, own, parts).then((last) => [last]),
    )
  }

  /** Sends a message without an answer, after the calls that wait for room. */
  notify(message: Out): Promise<void> {
    return this.#queue.notify(message)
  }

  #call(request: Out, options?: CallOptions, parts?: Parts<In>): Promise<In> {
    if (this.#refuse) return this.#refuse()
    const withId = this.#withId
    const make = (id: number): Out =>
      withId ? atOnce('requests', 'withId', withId(request, id)) : request
    return this.#calls.call('', make, options, parts)
  }
}

function noAnswersError(): CioError {
  const message =
    'requests: in order and with `serve`, `isAnswer` says which messages answer a call; give it to call the other side'
  return new CioError('ERR_CIO_OPTION', message)
}

export { requests as default }
