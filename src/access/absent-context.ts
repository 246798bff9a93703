/** The context of no connection: for a rule that is asked about a peer who is not connected. */

import type { StreamContext } from '../lifecycle/stream-context.ts'

/** A context of which nothing can be read. A rule that tries gets an error, and is found out. */
export function absentContext(): { readonly ctx: StreamContext; readonly wasRead: () => boolean } {
  let read = false
  const trap = (): never => {
    read = true
    throw new Error('there is no connection')
  }
  // Every trap that a Proxy has.
  const traps = new Proxy({}, { get: () => trap })
  return { ctx: new Proxy({}, traps) as StreamContext, wasRead: () => read }
}
