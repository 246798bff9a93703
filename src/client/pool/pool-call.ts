/** The `call` of a client, whichever middleware has added it. */

import { CioError } from '../../errors.ts'

type Call = (...given: readonly unknown[]) => Promise<unknown>

/** @throws `ERR_CIO_OPTION`: neither `rpc` nor `requests` has added one */
export function callOf(client: object): Call {
  const { rpc, requests } = client as { rpc?: { call: Call }; requests?: { call: Call } }
  const caller = rpc ?? requests
  if (caller) return (...given) => caller.call(...given)
  const message = 'Pool: `call` needs `rpc` or `requests` in the client pipeline of its app'
  throw new CioError('ERR_CIO_OPTION', message)
}
