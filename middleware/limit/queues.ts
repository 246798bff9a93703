/** Bytes that wait to be sent, over all connections. */

import type { Duplex } from 'node:stream'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'

/** Milliseconds between two looks, at least; the second number from half of the bound on. */
const intervals = [100, 20] as const
/** A look takes this share of the time between two looks, at most: one in so many. */
const shares = [500, 20] as const

/**
 * Adds up what waits to be sent, and closes the slowest connections where that is too much.
 *
 * It looks from time to time, since to count each write would cost each write. A look at a thousand
 * connections takes a tenth of a millisecond or so; the more there are, the rarer it is.
 */
export class Queues {
  readonly #most: number
  readonly #close: (ctx: ConnectionContext, queued: number, total: number) => void
  readonly #connections = new Set<ConnectionContext>()
  /** Bytes that the network had taken at the last look; kept only near the bound. */
  #taken: Map<ConnectionContext, number> | undefined
  #timer: NodeJS.Timeout | undefined
  #total = 0

  /** @param most Bytes */
  constructor(
    most: number,
    close: (ctx: ConnectionContext, queued: number, total: number) => void,
  ) {
    this.#most = most
    this.#close = close
  }

  /** The bytes of the last look. */
  get total(): number {
    return this.#total
  }

  enter(ctx: ConnectionContext): void {
    if (this.#most === Infinity) return
    this.#connections.add(ctx)
    this.#timer ??= setTimeout(this.#look, intervals[0]).unref()
  }

  /** Its pipeline has returned. Its unsent bytes count until the connection is gone. */
  leave(ctx: ConnectionContext): void {
    if (ctx.transport!.destroyed || queuedOf(ctx) === 0) this.#forget(ctx)
  }

  readonly #look = (): void => {
    const begun = performance.now()
    this.#total = 0
    for (const ctx of this.#connections) {
      if (ctx.transport!.destroyed) this.#forget(ctx)
      else this.#total += queuedOf(ctx)
    }
    const isNear = this.#total > this.#most / 2
    const before = this.#taken
    this.#taken = isNear ? new Map(this.#measured(takenOf)) : undefined
    // It takes two looks to know which are slow.
    if (this.#total > this.#most && before) this.#relieve(before)
    if (this.#connections.size === 0) return this.#rest()
    const took = performance.now() - begun
    const delay = Math.max(intervals[Number(isNear)]!, took * shares[Number(isNear)]!)
    this.#timer = setTimeout(this.#look, delay).unref()
  }

  /** Closes those that would take longest to read what waits for them. */
  #relieve(before: ReadonlyMap<ConnectionContext, number>): void {
    const slowness = new Map<ConnectionContext, number>()
    for (const [ctx, queued] of this.#measured(queuedOf)) {
      const taken = takenOf(ctx) - (before.get(ctx) ?? -Infinity)
      slowness.set(ctx, queued / (taken + 1))
    }
    const slowest = [...slowness].toSorted(([, one], [, other]) => other - one)
    for (const [ctx] of slowest) {
      if (this.#total <= this.#most) return
      const queued = queuedOf(ctx)
      this.#close(ctx, queued, this.#total)
      this.#total -= queued
      this.#forget(ctx)
    }
  }

  *#measured(
    measure: (ctx: ConnectionContext) => number,
  ): Generator<[ctx: ConnectionContext, measured: number]> {
    for (const ctx of this.#connections) if (queuedOf(ctx) > 0) yield [ctx, measure(ctx)]
  }

  #forget(ctx: ConnectionContext): void {
    this.#connections.delete(ctx)
    this.#taken?.delete(ctx)
    if (this.#connections.size === 0) this.#rest()
  }

  #rest(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#taken = undefined
    this.#total = 0
  }
}

/** Unsent bytes of a connection: in its stream, and in its own layers beneath. */
function queuedOf({ stream, socket, transport, server }: ConnectionContext): number {
  let queued = stream.writableLength
  // That of a stream within another connection is the other's.
  if (server && socket && socket !== stream) queued += socket.writableLength
  if (transport !== stream && transport !== socket) queued += transport!.writableLength
  return queued
}

/** Node's handle, which knows what the kernel has not taken yet; nothing that is documented does. */
interface Handle {
  readonly bytesWritten?: number
  readonly writeQueueSize?: number
}

/** Bytes of a connection that the network has taken; 0 where that is not known. */
function takenOf({ transport }: ConnectionContext): number {
  const { _handle: handle } = transport as Duplex & { readonly _handle?: Handle | null }
  return (handle?.bytesWritten ?? 0) - (handle?.writeQueueSize ?? 0)
}
