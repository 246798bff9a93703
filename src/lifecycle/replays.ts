/** Connections of `replay`: their input was recorded, and no client is there. */

import type { ConnectionContext } from './connection.ts'

const replays = new WeakSet<ConnectionContext>()

/** Marks a connection before its first middleware runs. */
export function markReplay(ctx: ConnectionContext): void {
  replays.add(ctx)
}

/** Whether `replay` of `cio/testing` made this connection. */
export function isReplay(ctx: ConnectionContext): boolean {
  return replays.has(ctx)
}
