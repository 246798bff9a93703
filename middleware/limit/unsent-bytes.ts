/** Unsent bytes over all connections. */

import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { bytesAccepted } from '../../src/streams/socket-handle.ts'

/** Minimum milliseconds between two checks; the second value applies above half of the limit. */
const intervals = [100, 20] as const
/** A check takes at most one part in this many of the time between two checks. */
const shares = [500, 20] as const

/**
 * Adds up unsent bytes, and closes the slowest connections if there are too many.
 *
 * It checks at intervals, because counting each write would slow down each write. A check of a
 * thousand connections takes about a tenth of a millisecond; more connections mean fewer checks.
 */
export class UnsentBytes {
  readonly #most: number
  readonly #close: (ctx: ConnectionContext, queued: number, total: number) => void
  readonly #connections = new Set<ConnectionContext>()
  /** Bytes sent to the network at the last check; kept only near the limit. */
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

  /** Unsent bytes at the last check. */
  get total(): number {
    return this.#total
  }

  enter(ctx: ConnectionContext): void {
    if (this.#most === Infinity) return
    this.#connections.add(ctx)
    this.#timer ??= setTimeout(this.#look, intervals[0]).unref()
  }

  /** The pipeline has returned. Its unsent bytes count until the connection closes. */
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
    // Measuring a speed needs two checks.
    if (this.#total > this.#most && before) this.#relieve(before)
    if (this.#connections.size === 0) return this.#rest()
    const took = performance.now() - begun
    const delay = Math.max(intervals[Number(isNear)]!, took * shares[Number(isNear)]!)
    this.#timer = setTimeout(this.#look, delay).unref()
  }

  /** Closes the connections that would take longest to read their queue. */
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
  // A stream within another connection does not count the socket, which belongs to that connection.
  if (server && socket && socket !== stream) queued += socket.writableLength
  if (transport !== stream && transport !== socket) queued += transport!.writableLength
  return queued
}

/** Bytes that a connection has sent to the network; 0 if unknown. */
function takenOf({ transport }: ConnectionContext): number {
  return bytesAccepted(transport!)
}
