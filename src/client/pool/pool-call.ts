/** The `call` of a client, whichever middleware has added it. */

import { CioError } from '../../errors.ts'
import type { UseOptions } from './pool-types.ts'

type Call = (...given: readonly unknown[]) => Promise<unknown>

/**
 * The signal in the options of a call, which are its last argument, ends the wait for a connection too.
 * The parameters have none: a signal cannot be sent.
 */
export function useOptionsOf(given: readonly unknown[]): UseOptions {
  const { signal } = (given.at(-1) ?? {}) as { signal?: unknown }
  return given.length > 1 && signal instanceof AbortSignal ? { signal } : {}
}

/** @throws `ERR_CIO_OPTION`: neither `rpc` nor `requests` has added one */
export function callOf(client: object): Call {
  const { rpc, requests } = client as { rpc?: { call: Call }; requests?: { call: Call } }
  const caller = rpc ?? requests
  if (caller) return (...given) => caller.call(...given)
  const message = 'Pool: `call` needs `rpc` or `requests` in the client pipeline of its app'
  throw new CioError('ERR_CIO_OPTION', message)
}
