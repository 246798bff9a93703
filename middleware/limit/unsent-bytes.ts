/** Unsent bytes over all connections. */

import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import { bytesAccepted } from '../../src/streams/socket-handle.ts'

/** Minimum milliseconds between two checks; the second value applies above half of the limit. */
const intervals = [100, 20] as const
/** A check takes at most one part in this many of the time between two checks. */
const shares = [500, 20] as const

/** A connection in the list of all, and its place there. */
export interface Queue {
  readonly ctx: ConnectionContext
  /** -1 once it is not counted any more. */
  at: number
}

/**
 * Adds up unsent bytes, and closes the slowest connections if there are too many.
 *
 * It checks at intervals, because counting each write would slow down each write. A check of a
 * thousand connections takes about a tenth of a millisecond; more connections mean fewer checks.
 */
export class UnsentBytes {
  readonly #most: number
  readonly #close: (ctx: ConnectionContext, queued: number, total: number) => void
  // Not a Set: V8 would collect what passes through it late (src/server/open-connections.ts).
  readonly #all: Queue[] = []
  /** Bytes sent to the network at the last check; kept only near the limit. */
  #taken: Map<Queue, number> | undefined
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

  enter(ctx: ConnectionContext): Queue {
    if (this.#most === Infinity) return { ctx, at: -1 }
    const queue = { ctx, at: this.#all.length }
    this.#all.push(queue)
    this.#timer ??= setTimeout(this.#look, intervals[0]).unref()
    return queue
  }

  /** The pipeline has returned. Its unsent bytes count until the connection closes. */
  leave(queue: Queue): void {
    const { ctx } = queue
    if (ctx.transport!.destroyed || queuedOf(ctx) === 0) this.#forget(queue)
  }

  readonly #look = (): void => {
    const begun = performance.now()
    this.#total = 0
    // Backwards: the last one takes the place of one that is forgotten.
    for (let at = this.#all.length - 1; at >= 0; at--) {
      const queue = this.#all[at]!
      if (queue.ctx.transport!.destroyed) this.#forget(queue)
      else this.#total += queuedOf(queue.ctx)
    }
    const isNear = this.#total > this.#most / 2
    const before = this.#taken
    this.#taken = isNear ? new Map(this.#measured(takenOf)) : undefined
    // Measuring a speed needs two checks.
    if (this.#total > this.#most && before) this.#relieve(before)
    if (this.#all.length === 0) return this.#rest()
    const took = performance.now() - begun
    const delay = Math.max(intervals[Number(isNear)]!, took * shares[Number(isNear)]!)
    this.#timer = setTimeout(this.#look, delay).unref()
  }

  /** Closes the connections that would take longest to read their queue. */
  #relieve(before: ReadonlyMap<Queue, number>): void {
    const slowness = new Map<Queue, number>()
    for (const [queue, queued] of this.#measured(queuedOf)) {
      const taken = takenOf(queue.ctx) - (before.get(queue) ?? -Infinity)
      slowness.set(queue, queued / (taken + 1))
    }
    const slowest = [...slowness].toSorted(([, one], [, other]) => other - one)
    for (const [queue] of slowest) {
      if (this.#total <= this.#most) return
      const queued = queuedOf(queue.ctx)
      this.#close(queue.ctx, queued, this.#total)
      this.#total -= queued
      this.#forget(queue)
    }
  }

  *#measured(
    measure: (ctx: ConnectionContext) => number,
  ): Generator<[queue: Queue, measured: number]> {
    for (const queue of this.#all) {
      if (queuedOf(queue.ctx) > 0) yield [queue, measure(queue.ctx)]
    }
  }

  #forget(queue: Queue): void {
    this.#taken?.delete(queue)
    const last = queue.at === -1 ? undefined : this.#all.pop()
    if (last && last !== queue) {
      last.at = queue.at
      this.#all[last.at] = last
    }
    queue.at = -1
    if (this.#all.length === 0) this.#rest()
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
