import { type CioError, isCioError } from '../src/errors.ts'
import type { MessagesContext, StandardSchema } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkDuration, checkOptionNames, optionError } from '../src/options.ts'
import { provide } from '../src/lifecycle/provide.ts'
import { Pump } from '../src/messages/pump.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { Batches } from './rpc/batches.ts'
import { type CallOptions, Calls } from './rpc/calls.ts'
import type { RpcRequest } from './rpc/request.ts'
import type { AnyMethod, Procedure } from './rpc/procedure.ts'
import { Requests } from './rpc/requests.ts'
import { type Response, cancelMethod, failed, failures } from './rpc/wire.ts'

export type { CallOptions } from './rpc/calls.ts'
export { RpcRequest } from './rpc/request.ts'
export { type RpcFailure, rpcError, rpcFailure } from './rpc/wire.ts'

/** Any method that a peer may have. */
export type AnyMethods = Record<string, (params?: unknown) => unknown>

/** Any method that one may have oneself. */
export type OwnMethods = Record<string, (params: never) => unknown>

type Called<Method> = Method extends (...args: infer Args) => unknown ? Args : never
type Returned<Method> = Method extends (...args: never[]) => infer Result ? Awaited<Result> : never
type Checked<Method> = [Called<Method>[0]] extends [never] ? unknown : Called<Method>[0]
type Name<Interface> = keyof Interface & string

/** What serves an interface: its methods, each with the request as another argument. */
export type Methods<Interface> = {
  readonly [Name in keyof Interface]: (
    params: Called<Interface[Name]>[0],
    request: RpcRequest,
  ) => Returned<Interface[Name]> | PromiseLike<Returned<Interface[Name]>>
}

/** Schemas of the parameters of some of them. */
export type Schemas<Interface> = {
  readonly [Name in keyof Interface]?: StandardSchema<Checked<Interface[Name]>>
}

/** Options of {@link rpc}. */
export interface RpcOptions<Local = OwnMethods> {
  /**
   * What the peer may call: own properties of this object, and nothing that they inherit. Without it,
   * nothing.
   */
  readonly methods?: Methods<Local>
  /** Schemas of parameters, by the names of methods. Without it, methods get what the peer sent. */
  readonly params?: Schemas<Local>
  /**
   * Milliseconds to wait for an answer, where a call does not say. `Infinity` waits as long as the
   * connection lasts.
   *
   * @default 30_000
   */
  readonly timeout?: number
  /**
   * Calls that may wait for their answers at once; one more rejects. `Infinity` lets them pile up.
   *
   * @default 1_000
   */
  readonly maxCalls?: number
  /**
   * Requests that may be at work at once; then nothing more is read until one is answered.
   * `Infinity` reads on.
   *
   * @default 100
   */
  readonly maxRequests?: number
  /**
   * Requests in a batch; a longer one is refused as a whole. `Infinity` takes any.
   *
   * @default 100
   */
  readonly maxBatch?: number
}

/** What {@link rpc} adds. */
export interface RpcContext<Remote = AnyMethods> {
  rpc: Rpc<Remote>
}

const options = ['methods', 'params', 'timeout', 'maxCalls', 'maxRequests', 'maxBatch']

/**
 * Makes requests of messages, both ways: JSON-RPC 2.0.
 *
 * Over `json()` it talks with `jayson`, over `contentLength()` with `vscode-jsonrpc`. A call that
 * is aborted or late sends the Language Server Protocol's `$/cancelRequest`, which aborts
 * `request.signal` in the method. Requests that come while the connection drains are refused with
 * error -32000.
 *
 * What a method throws is told by `error`, and the caller gets -32603 and nothing else; throw
 * `rpcError()` to say more. A method that itself calls the peer keeps its place meanwhile: where
 * `maxRequests` of them do, the answers are not read, and they end by their timeouts.
 *
 * @pipelines connection, client
 * @order after a codec and after what its methods need, since requests may come at once
 * @adds `ctx.rpc`
 * @needs `ctx.messages` that take any value: `json`, `contentLength`, `msgpack`
 * @rejects `ERR_CIO_SYNTAX` and what else the codec rejects (peer), after a response with -32700 or
 *   -32600; `ERR_CIO_NO_MESSAGES` (local): no codec stands before it. A call: `ERR_CIO_RPC` (remote):
 *   the answer is an error; `ERR_CIO_CALL_TIMEOUT` (remote): there was none in time;
 *   `ERR_CIO_CLOSED` (remote): the connection was lost; `ERR_CIO_TOO_MANY_CALLS` (local): more wait than
 *   `maxCalls`; `ERR_CIO_ENCODE` (local). The signal of a request: `ERR_CIO_CANCELLED` (remote),
 *   `ERR_CIO_CLOSED` (remote)
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range, or a method is no function
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
export function rpc<Remote = AnyMethods, Local = OwnMethods>(
  options: RpcOptions<NoInfer<Local>> = {},
): Middleware<StreamContext & MessagesContext<unknown>, RpcContext<Remote>> {
  const { timeout = 30_000, maxCalls = 1_000, maxRequests = 100, maxBatch = 100 } = options
  const procedures = checkOptions(options, timeout)
  checkCount('rpc', 'maxCalls', maxCalls, 1)
  checkCount('rpc', 'maxRequests', maxRequests, 1)
  checkCount('rpc', 'maxBatch', maxBatch, 1)

  return defineMiddleware<StreamContext & MessagesContext<unknown>, RpcContext<Remote>>(
    { name: 'rpc' },
    async function rpc(ctx, next) {
      const pump = new Pump(ctx, {
        owner: 'rpc',
        maxRunning: maxRequests,
        take: (message) => batches.take(message),
        expects: () => calls.waiting,
        ended: () => calls.close(),
        closed: () => requests.abort(),
        lastMessage,
      })
      const calls = new Calls(ctx, pump, { timeout, maxCalls })
      const requests = new Requests(ctx, pump, procedures)
      const batches = new Batches(pump, calls, requests, maxBatch)
      await provide(ctx, 'rpc', new Rpc<Remote>(pump, calls), () => {
        pump.start()
        return pump.run(next)
      })
    },
  )
}

/** The calls that a connection can make. */
export class Rpc<Remote = AnyMethods> {
  readonly #pump: Pump
  readonly #calls: Calls

  constructor(pump: Pump, calls: Calls) {
    this.#pump = pump
    this.#calls = calls
  }

  /**
   * Calls a method of the peer; fulfils with its result.
   *
   * @throws `ERR_CIO_RPC`, `ERR_CIO_CALL_TIMEOUT`, `ERR_CIO_CLOSED` (remote)
   * @throws `ERR_CIO_TOO_MANY_CALLS`, `ERR_CIO_ENCODE` (local), or the reason of `signal`
   */
  call<Method extends Name<Remote>>(
    method: Method,
    ...[params, options]: [] extends Called<Remote[Method]>
      ? [params?: Called<Remote[Method]>[0], options?: CallOptions]
      : [params: Called<Remote[Method]>[0], options?: CallOptions]
  ): Promise<Returned<Remote[Method]>> {
    return this.#calls.call(method, params, options) as Promise<Returned<Remote[Method]>>
  }

  /** Calls a method of the peer without an answer; fulfils when it may be followed by more. */
  notify<Method extends Name<Remote>>(
    method: Method,
    ...[params]: [] extends Called<Remote[Method]>
      ? [params?: Called<Remote[Method]>[0]]
      : [params: Called<Remote[Method]>[0]]
  ): Promise<void> {
    return this.#pump.send({ jsonrpc: '2.0', method, params: params ?? undefined })
  }
}

function checkOptions(given: RpcOptions, timeout: number): ReadonlyMap<string, Procedure> {
  checkOptionNames('rpc', given, options)
  checkDuration('rpc', 'timeout', timeout)
  const { methods = {}, params = {} } = given
  checkOptionNames('rpc: params', params, Object.keys(methods))
  const procedures = Object.entries(methods).map(([name, method]): [string, Procedure] => {
    if (typeof method !== 'function') throw optionError('rpc', name, 'a function', method)
    if (name === cancelMethod || name.startsWith('rpc.')) {
      throw optionError('rpc', 'methods', 'named otherwise: JSON-RPC reserves it', name)
    }
    const schema = Object.hasOwn(params, name) ? params[name] : undefined
    return [name, { method: method as AnyMethod, schema }]
  })
  return new Map(procedures)
}

/** Tells the peer what was wrong with its last message, before the connection is destroyed. */
function lastMessage(error: Error): Response | undefined {
  if (isCioError(error, 'ERR_CIO_SYNTAX')) return failed(null, failures.parse)
  return (error as CioError).fault === 'remote' ? failed(null, failures.invalidRequest) : undefined
}

export { rpc as default }
