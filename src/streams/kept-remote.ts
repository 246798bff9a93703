/**
 * The remote end of a connection, kept for after its end: Node loses it when it destroys the socket, and
 * the kernel when the other side resets the connection. IPv4 is kept as numbers, which take no memory
 * of their own.
 */

import type { Socket } from 'node:net'
import { type Endpoint, canonicalAddress } from './endpoint.ts'
import { readRemote } from './socket-handle.ts'

const address = Symbol('address')
const port = Symbol('port')

interface Keeper {
  readonly socket: Socket | null
  [address]?: number | string
  [port]?: number
}

/**
 * Reads the remote address of a connection now, so that `ctx.address` and `ctx.remote` have it also
 * after the end: for a probe, in `begin`. It is a system call of 2 to 3 µs.
 */
export function keepRemote(ctx: {
  readonly kind: 'connection'
  readonly socket: Socket | null
}): void {
  const keeper: Keeper = ctx
  if (!keeper.socket || keeper[address] !== undefined) return
  const remote = readRemote(keeper.socket)
  if (!remote) return
  const canonical = canonicalAddress(remote.address)
  keeper[address] = canonical.includes(':') ? canonical : toNumber(canonical)
  keeper[port] = remote.port
}

/** What {@link keepRemote} has kept; null if it has kept nothing. */
export function keptRemote(ctx: object): Endpoint | null {
  const { [address]: kept, [port]: number } = ctx as Keeper
  if (kept === undefined) return null
  return { address: typeof kept === 'number' ? toIPv4(kept) : kept, port: number! }
}

function toNumber(dotted: string): number {
  let number = 0
  let part = 0
  for (let index = 0; index < dotted.length; index++) {
    const code = dotted.charCodeAt(index)
    if (code === dot) {
      number = (number << 8) | part
      part = 0
    } else part = part * 10 + code - zero
  }
  // Signed, as V8 keeps small numbers.
  return (number << 8) | part
}

const dot = '.'.charCodeAt(0)
const zero = '0'.charCodeAt(0)

function toIPv4(number: number): string {
  return `${number >>> 24}.${(number >>> 16) & 255}.${(number >>> 8) & 255}.${number & 255}`
}
