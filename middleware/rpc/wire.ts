/** JSON-RPC 2.0 messages and errors. */

import { CioError, asError, isCioError, quote } from '../../src/errors.ts'

/** The id of a request; null if it could not be parsed. */
export type Id = string | number | null

/** Whether it may be the id of a request. */
export function isId(id: unknown): id is string | number {
  return typeof id === 'string' || typeof id === 'number'
}

/** Whether it is a valid request or notification. */
export function isRequest(
  message: Received,
): message is Received & { readonly method: string; readonly id?: Id } {
  const { jsonrpc, method, id, params } = message
  if (jsonrpc !== '2.0' || typeof method !== 'string') return false
  if (id !== undefined && id !== null && !isId(id)) return false
  return params === undefined || typeof params === 'object'
}

/** The error object of a response; `data` is free for the application. */
export interface RpcFailure {
  /** The error code. */
  readonly code: number
  /** The message. */
  readonly message: string
  /** Further data; undefined without any. */
  readonly data?: unknown
}

/** Whether it is a valid error object; plain JavaScript may pass anything. */
export function isFailure({ code, message }: RpcFailure): boolean {
  return Number.isInteger(code) && typeof message === 'string'
}

/** A response to a request. */
export type Response =
  | { readonly jsonrpc: '2.0'; readonly id: Id; readonly result: unknown }
  | { readonly jsonrpc: '2.0'; readonly id: Id; readonly error: RpcFailure }

/** A received message whose kind is not known yet. */
export interface Received {
  readonly jsonrpc?: unknown
  readonly id?: unknown
  readonly method?: unknown
  readonly params?: unknown
  readonly result?: unknown
  readonly error?: unknown
}

/** The specification's error codes, and two more from the Language Server Protocol. */
export const failures: Readonly<Record<FailureName, RpcFailure>> = {
  parse: { code: -32_700, message: 'Parse error' },
  invalidRequest: { code: -32_600, message: 'Invalid Request' },
  unknownMethod: { code: -32_601, message: 'Method not found' },
  invalidParams: { code: -32_602, message: 'Invalid params' },
  internal: { code: -32_603, message: 'Internal error' },
  closing: { code: -32_000, message: 'Server error: closing' },
  cancelled: { code: -32_800, message: 'Request cancelled' },
}

type FailureName =
  | 'parse'
  | 'invalidRequest'
  | 'unknownMethod'
  | 'invalidParams'
  | 'internal'
  | 'closing'
  | 'cancelled'

/** The notification that cancels a request: the Language Server Protocol's, not the standard's. */
export const cancelMethod = '$/cancelRequest'

/** An error response. */
export function failed(id: Id, error: RpcFailure): Response {
  return { jsonrpc: '2.0', id, error }
}

/**
 * An error whose details are sent to the caller. `code` is an integer of your choice, outside of
 * -32768 to -32000, or -32602 for invalid parameters.
 *
 * @example
 * import { rpcError } from 'cio'
 *
 * const methods = {
 *   divide([a, b]: [number, number]): number {
 *     if (b === 0) throw rpcError(1, 'division by zero', { a })
 *     return a / b
 *   },
 * }
 */
export function rpcError(code: number, message: string, data?: unknown): CioError<'ERR_CIO_RPC'> {
  const cause: RpcFailure = data === undefined ? { code, message } : { code, message, data }
  return new CioError('ERR_CIO_RPC', message, { cause })
}

/** The code, message and data of an error from `rpcError()`, on this side or from the peer. */
export function rpcFailure(error: unknown): RpcFailure | undefined {
  return isCioError(error, 'ERR_CIO_RPC') ? (error.cause as RpcFailure) : undefined
}

/** The error of a call, made from the peer's error response. */
export function answeredError(method: string, error: unknown): CioError<'ERR_CIO_RPC'> {
  const { code, message, data } = (error ?? {}) as Partial<Record<keyof RpcFailure, unknown>>
  const cause: RpcFailure = {
    code: typeof code === 'number' ? code : failures.internal.code,
    message: typeof message === 'string' ? message : failures.internal.message,
    ...(data !== undefined && { data }),
  }
  const said = `the peer answered \`${method}\` with error ${cause.code}: ${quote(cause.message)}`
  return new CioError('ERR_CIO_RPC', said, { fault: 'remote', cause })
}

/** The response to a message that is not a request. */
export function invalid({ id }: Received): Response {
  return failed(isId(id) ? id : null, failures.invalidRequest)
}

/** The part of an error that a caller may see, if the error was made for callers. */
export function passedOn(thrown: unknown): RpcFailure | undefined {
  // An error from another peer must not be passed on to this one.
  const error = asError(thrown)
  const passed = (error as CioError).fault === 'remote' ? undefined : rpcFailure(error)
  return passed && isFailure(passed) ? passed : undefined
}

/** The response to the peer's invalid last message, before the connection is destroyed. */
export function lastMessage(error: Error): Response | undefined {
  if (isCioError(error, 'ERR_CIO_SYNTAX')) return failed(null, failures.parse)
  return (error as CioError).fault === 'remote' ? failed(null, failures.invalidRequest) : undefined
}
