/** Where to connect to, or to listen: `host:port`, a port, or the path of a Unix socket. */

import { UsageError } from './command.ts'

/** An address, as `connect()` and `listen()` take it. */
export type Place = { readonly host: string; readonly port: number } | { readonly path: string }

const highestPort = 65_535

/** Reads `host:port`, `[::1]:port` or `port`. A text with a slash is a path. */
export function placeFrom(text: string | undefined, otherwise: string, lowest: number): Place {
  if (text === undefined) throw new UsageError('give an address: host:port, a port, or a path')
  if (text.includes('/')) return { path: text }
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]:|([^:]*):)?(\d+)$/.exec(text) ?? []
  const port = Number(digits)
  if (digits === undefined || port < lowest || port > highestPort) {
    throw new UsageError(
      `${JSON.stringify(text)} is not an address: host:port, [::1]:port, a port from ${lowest} to ${highestPort}, or a path with a slash`,
    )
  }
  return { host: bracketed ?? (plain || otherwise), port }
}
