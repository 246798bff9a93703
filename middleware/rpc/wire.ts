/** JSON-RPC 2.0 as it stands on the wire, and its errors. */

import { CioError, isCioError, quote } from '../../src/errors.ts'

/** What identifies a request; null where it could not be read. */
export type Id = string | number | null

/** The error of a response: `data` is whatever its maker added. */
export interface RpcFailure {
  readonly code: number
  readonly message: string
  readonly data?: unknown
}

/** An answer to a request. */
export type Response =
  | { readonly jsonrpc: '2.0'; readonly id: Id; readonly result: unknown }
  | { readonly jsonrpc: '2.0'; readonly id: Id; readonly error: RpcFailure }

/** A message before it is known what it is. */
export interface Received {
  readonly jsonrpc?: unknown
  readonly id?: unknown
  readonly method?: unknown
  readonly params?: unknown
  readonly result?: unknown
  readonly error?: unknown
}

/** The codes of the specification, and those of the Language Server Protocol for what it lacks. */
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

/** A response with a failure. */
export function failed(id: Id, error: RpcFailure): Response {
  return { jsonrpc: '2.0', id, error }
}

/**
 * The error that a method throws for its caller to see: `code` is a whole number of the
 * application's choice, outside of -32768 to -32000, or -32602 for wrong parameters.
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

/** The code, message and data of an error that `rpcError()` made, here or at the peer. */
export function rpcFailure(error: unknown): RpcFailure | undefined {
  return isCioError(error, 'ERR_CIO_RPC') ? (error.cause as RpcFailure) : undefined
}

/** The error that a call rejects with, of what the peer answered. */
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
