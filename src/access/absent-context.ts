/**
 * Stands for the context where there is no connection: a rule is asked about a peer that is not
 * connected.
 */

import type { StreamContext } from '../lifecycle/stream-context.ts'

/**
 * A context without readable members. A rule that reads one gets an error, so the caller learns
 * that the rule needs a connection.
 */
export function absentContext(): { readonly ctx: StreamContext; readonly wasRead: () => boolean } {
  let read = false
  const trap = (): never => {
    read = true
    throw new Error('there is no connection')
  }
  // All traps of a Proxy.
  const traps = new Proxy({}, { get: () => trap })
  return { ctx: new Proxy({}, traps) as StreamContext, wasRead: () => read }
}
