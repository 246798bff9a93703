import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import {
  checkCount,
  checkDuration,
  checkObject,
  checkOptionNames,
  optionError,
} from '../src/options.ts'
import type { CallOptions } from '../src/messages/pending-calls.ts'
import { provide } from '../src/lifecycle/provide.ts'
import { Pump } from '../src/messages/pump.ts'
import { SendQueue } from '../src/messages/send-queue.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { Batches } from './rpc/batches.ts'
import { Calls } from './rpc/calls.ts'
import type {
  AnyMethods,
  Called,
  Methods,
  Name,
  OwnMethods,
  Result,
  ResultSchemas,
  Schemas,
  Value,
} from './rpc/method-types.ts'
import { type OpenRpcDocument, discovery } from './rpc/open-rpc.ts'
import type { AnyMethod, Procedure } from './rpc/procedure.ts'
import { Requests } from './rpc/requests.ts'
import { cancelMethod, lastMessage } from './rpc/wire.ts'

export type { CallOptions } from '../src/messages/pending-calls.ts'
export type { AnyMethods, Methods, OwnMethods, ResultSchemas, Schemas } from './rpc/method-types.ts'
export { type OpenRpcDocument, type OpenRpcOptions, openRpc } from './rpc/open-rpc.ts'
export { RpcRequest } from './rpc/request.ts'
export { type RpcFailure, rpcError, rpcFailure } from './rpc/wire.ts'

/** Options of {@link rpc}. */
export interface RpcOptions<Local = OwnMethods, Context extends StreamContext = StreamContext> {
  /**
   * The methods that the peer may call: own properties of this object, not inherited ones.
   * Without it, the peer can call none.
   */
  readonly methods?: Methods<Local, Context>
  /** Schemas of parameters, by method name. Without it, methods get the parameters unchecked. */
  readonly params?: Schemas<Local>
  /**
   * Schemas of results, by method name; for a streamed result, of each value. The caller gets what the
   * schema returns. If the schema refuses it, the caller gets -32603. Without it, Cio sends what the
   * method returned.
   */
  readonly results?: ResultSchemas<Local>
  /**
   * Milliseconds to wait for a response, unless the call sets its own. `Infinity` waits as long as
   * the connection lasts.
   *
   * @default 30_000
   */
  readonly timeout?: number
  /**
   * Maximum number of calls that wait for a response or for room. Further calls reject. `Infinity`
   * is unlimited.
   *
   * @default 1_000
   */
  readonly maxCalls?: number
  /**
   * Maximum number of running requests; beyond it, Cio stops reading until one is answered, unless
   * calls of this side wait for responses. `Infinity` is unlimited.
   *
   * @default 100
   */
  readonly maxRequests?: number
  /**
   * Maximum number of requests in a batch; a longer batch is refused. `Infinity` is unlimited.
   *
   * @default 100
   */
  readonly maxBatch?: number
  /**
   * Maximum number of values of a `stream()` that wait to be taken; then Cio stops reading.
   *
   * @default 16
   */
  readonly maxParts?: number
  /**
   * The OpenRPC document that the method `rpc.discover` answers with: from `openRpc()`, or your own.
   * Without it, there is no such method.
   */
  readonly discover?: OpenRpcDocument
}

/** What {@link rpc} adds. */
export interface RpcContext<Remote = AnyMethods> {
  /** The calls of the connection. */
  rpc: Rpc<Remote>
}

const bounds = ['timeout', 'maxCalls', 'maxRequests', 'maxBatch', 'maxParts']

/**
 * JSON-RPC 2.0 in both directions: requests, responses, notifications.
 *
 * With `json()` it is compatible with `jayson`, with `contentLength()` with `vscode-jsonrpc`. A
 * call that is aborted or times out sends the Language Server Protocol's `$/cancelRequest`, which
 * aborts `request.signal` in the method. While the connection drains, Cio refuses new requests with
 * error -32000.
 *
 * `Remote` are the methods of the peer, `Local` those of this side. `Needs` are the members that earlier
 * middleware have added to the context, and the methods read from `request.ctx`.
 *
 * A method may return an async iterable, such as an async generator: `stream()` gets its values one by
 * one, as partial results of the Language Server Protocol (`$/progress`).
 *
 * An error thrown by a method emits `error`, and the caller gets -32603 without details; throw
 * `rpcError()` to send details. Calls and responses wait while the peer does not read, so that
 * `maxQueueSize` never refuses them. If methods of both sides call each other, and `maxRequests`
 * calls wait on each side, the calls time out.
 *
 * @pipelines connection, client
 * @order after a codec and after what its methods need, since requests may arrive at once
 * @adds `ctx.rpc`
 * @needs `ctx.messages` that accept any value: `json`, `contentLength`, `msgpack`
 * @rejects `ERR_CIO_SYNTAX` and the codec's other errors (remote), after a response with -32700 or
 *   -32600; `ERR_CIO_NO_MESSAGES` (local): there is no codec before it. A call: `ERR_CIO_RPC`
 *   (remote): the response is an error; `ERR_CIO_CALL_TIMEOUT` (remote): no response in time;
 *   `ERR_CIO_ANSWER_LOST` (remote): the connection was lost after the call was sent;
 *   `ERR_CIO_CLOSED` (remote): it was lost before; `ERR_CIO_TOO_MANY_CALLS` (local): more than
 *   `maxCalls` wait; `ERR_CIO_ENCODE` (local). A notification: `ERR_CIO_QUEUE_SIZE` (local). The
 *   signal of a request: `ERR_CIO_CANCELLED`
 *   (remote), `ERR_CIO_CLOSED` (remote)
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range, or a method is not a function
 * @see https://www.jsonrpc.org/specification
 *
 * @example
 * import { Cio, json, rpc } from 'cio'
 *
 * interface Arithmetic { add(params: [a: number, b: number]): number }
 *
 * const app = new Cio()
 *   .useConnection(json())
 *   .useConnection(rpc<{}, Arithmetic>({ methods: { add: ([a, b]) => a + b } }))
 *   .useClient(json())
 *   .useClient(rpc<Arithmetic>())
 * const server = await app.listen(0)
 * const client = await app.connect(server.port)
 * console.log(await client.rpc.call('add', [1, 2])) // 3
 * await app.close()
 */
export function rpc<Remote = AnyMethods, Local = OwnMethods, Needs extends object = object>(
  options: RpcOptions<NoInfer<Local>, NoInfer<StreamContext & RpcContext<Remote> & Needs>> = {},
): Middleware<StreamContext & MessagesContext<unknown> & Needs, RpcContext<Remote>> {
  checkOptionNames('rpc', options, ['methods', 'params', 'results', 'discover', ...bounds])
  const { timeout = 30_000, maxCalls = 1_000, maxRequests = 100, maxBatch = 100 } = options
  const { maxParts = 16 } = options
  const procedures = checkOptions(options, timeout)
  const counts = { maxCalls, maxRequests, maxBatch, maxParts }
  for (const [name, value] of Object.entries(counts)) checkCount('rpc', name, value, 1)

  return defineMiddleware<StreamContext & MessagesContext<unknown>, RpcContext<Remote>>(
    { name: 'rpc', pipelines: ['connection', 'client'] },
    async function rpc(ctx, next) {
      const pump = new Pump(ctx, {
        owner: 'rpc',
        maxRunning: maxRequests,
        take: (message) => batches.take(message),
        // Responses may come behind requests in the input, and running methods may wait for them.
        readsOn: () => calls.waiting && queue.mayPark,
        expects: () => calls.waiting,
        ended: () => calls.close(),
        closed() {
          calls.close()
          requests.abort()
        },
        lastMessage,
      })
      const queue = new SendQueue(ctx, pump, maxRequests)
      const calls = new Calls(ctx, pump, queue, { timeout, maxCalls })
      const requests = new Requests(ctx, pump, queue, procedures)
      const batches = new Batches(pump, queue, calls, requests, maxBatch)
      await provide(ctx, 'rpc', new Rpc<Remote>(queue, calls, maxParts), () => {
        pump.start()
        return pump.run(next)
      })
    },
  )
}

/** Calls to the peer of a connection. */
export class Rpc<Remote = AnyMethods> {
  readonly #queue: SendQueue
  readonly #calls: Calls
  readonly #maxParts: number

  constructor(queue: SendQueue, calls: Calls, maxParts: number) {
    this.#queue = queue
    this.#calls = calls
    this.#maxParts = maxParts
  }

  /**
   * Calls a method of the peer; fulfils with its result.
   *
   * The request waits while the peer does not read.
   *
   * @throws `ERR_CIO_RPC`, `ERR_CIO_CALL_TIMEOUT`, `ERR_CIO_ANSWER_LOST`, `ERR_CIO_CLOSED` (remote)
   * @throws `ERR_CIO_TOO_MANY_CALLS`, `ERR_CIO_ENCODE` (local), or the reason of `signal`
   */
  call<Method extends Name<Remote>>(
    method: Method,
    ...[params, options]: [] extends Called<Remote[Method]>
      ? [params?: Called<Remote[Method]>[0], options?: CallOptions]
      : [params: Called<Remote[Method]>[0], options?: CallOptions]
  ): Promise<Result<Remote[Method]>> {
    return this.#calls.call(method, params, options) as Promise<Result<Remote[Method]>>
  }

  /**
   * Calls a method when the loop begins, and yields the values of its result as they come, by
   * `$/progress` of the Language Server Protocol. Leaving the loop cancels the request. While
   * `maxParts` values wait to be taken, Cio reads nothing from the connection.
   *
   * `timeout` begins again with each value. The parameters are an object, or none.
   *
   * @throws as `call()` does, in the loop; `ERR_CIO_OPTION`: the parameters are an array
   */
  stream<Method extends Name<Remote>>(
    method: Method,
    ...[params, options = {}]: [] extends Called<Remote[Method]>
      ? [params?: Called<Remote[Method]>[0], options?: CallOptions]
      : [params: Called<Remote[Method]>[0], options?: CallOptions]
  ): AsyncGenerator<Value<Remote[Method]>, void, undefined> {
    const isNamed = typeof params === 'object' && !Array.isArray(params)
    if (params !== undefined && !isNamed) {
      throw optionError('rpc.stream', 'params', 'an object, which the token is added to', params)
    }
    return this.#calls.stream(method, params, options, this.#maxParts) as AsyncGenerator<
      Value<Remote[Method]>,
      void,
      undefined
    >
  }

  /** Calls a method without a response (notification); fulfils when you may send more. */
  notify<Method extends Name<Remote>>(
    method: Method,
    ...[params]: [] extends Called<Remote[Method]>
      ? [params?: Called<Remote[Method]>[0]]
      : [params: Called<Remote[Method]>[0]]
  ): Promise<void> {
    return this.#queue.notify({ jsonrpc: '2.0', method, params: params ?? undefined })
  }
}

/** Checks the options without the types of the methods, which `Procedure` drops too. */
type Unchecked = Omit<RpcOptions, 'methods'> & { readonly methods?: object }

function checkOptions(given: Unchecked, timeout: number): ReadonlyMap<string, Procedure> {
  checkDuration('rpc', 'timeout', timeout)
  const { methods = {}, params = {}, results = {}, discover } = given
  checkObject('rpc', 'methods', methods)
  checkOptionNames('rpc: params', params, Object.keys(methods))
  checkOptionNames('rpc: results', results, Object.keys(methods))
  const procedures = Object.entries<unknown>({ ...methods }).map(
    ([name, method]): [string, Procedure] => {
      if (typeof method !== 'function') throw optionError('rpc', name, 'a function', method)
      if (name === cancelMethod || name.startsWith('rpc.')) {
        throw optionError('rpc', 'methods', 'named otherwise: JSON-RPC reserves it', name)
      }
      const schema = Object.hasOwn(params, name) ? params[name] : undefined
      const resultSchema = Object.hasOwn(results, name) ? results[name] : undefined
      return [name, { method: method as AnyMethod, schema, resultSchema }]
    },
  )
  return new Map(discover === undefined ? procedures : [...procedures, discovery(discover)])
}

export { rpc as default }
