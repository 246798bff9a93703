/** Limits concurrent handshakes, and begins one per turn of the event loop. */

import type { Cio } from '../../src/cio.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { type Ending, WaitQueue } from './wait-queue.ts'

/** Milliseconds between two checks for progress, while a connection waits. */
const stallInterval = 100
/** Checks after which a handshake no longer counts, whatever it sends. */
const mostLooks = 5

/** A counted handshake: the bytes read at the last check, and the number of checks. */
interface Progress {
  readonly read: number | undefined
  readonly looks: number
}

const begun: Progress = { read: undefined, looks: 0 }

/**
 * Handshakes in progress.
 *
 * At most one begins in each turn of the event loop. Handshakes that begin together stay in step:
 * one turn would compute all of their signatures before it serves an open connection. A signature
 * takes one or two milliseconds.
 *
 * A handshake stops counting when it completes or its connection closes. While others wait, it also
 * stops counting if the client sent no byte since the last check, or has not finished after five
 * checks. A stalled handshake costs nothing, and a few hundred clients that stall, or send single
 * bytes, could otherwise lock out all others.
 */
export class HandshakeLimiter {
  readonly #most: number
  readonly #mostWaiting: number
  readonly #line: WaitQueue
  readonly #under = new Map<StreamContext, Progress>()
  readonly #apps = new WeakSet<Cio>()
  #timer: NodeJS.Timeout | undefined
  /** No handshake begins until this immediate has run. */
  #turn: NodeJS.Immediate | undefined

  /** @param timeout Milliseconds that a connection may wait */
  constructor(most: number, mostWaiting: number, timeout: number) {
    this.#most = most
    this.#mostWaiting = mostWaiting
    this.#line = new WaitQueue(timeout, () => !this.#hasRoom)
  }

  /** Number of handshakes in progress. */
  get count(): number {
    return this.#under.size
  }

  /** Number of waiting connections. */
  get waiting(): number {
    return this.#line.length
  }

  /**
   * Waits for the turn; from then on the handshake counts. Returns `late` at once if too many wait.
   */
  enter(ctx: StreamContext): Promise<Ending> | Ending {
    this.#listen(ctx.app)
    // A new connection does not overtake waiting ones.
    if (!this.#turn && this.#line.length === 0 && this.#hasRoom) {
      this.#begin(ctx)
      return 'turn'
    }
    // A wait of a few turns of the event loop is no reason to reject.
    if (this.#under.size + this.#line.length >= this.#most + this.#mostWaiting) return 'late'
    const turn = this.#line.join(ctx.transport!, () => this.#begin(ctx))
    this.#watch()
    return turn
  }

  get #hasRoom(): boolean {
    return this.#under.size < this.#most
  }

  #begin(ctx: StreamContext): void {
    this.#under.set(ctx, begun)
    this.#turn ??= setImmediate(this.#next)
  }

  readonly #next = (): void => {
    this.#turn = undefined
    if (this.#hasRoom) this.#line.call()
    this.#watch()
  }

  /** Checks for progress only while a connection waits for room. */
  #watch(): void {
    if (this.#line.length === 0) this.#rest()
    else if (!this.#hasRoom) this.#timer ??= setInterval(() => this.#look(), stallInterval)
  }

  /** The handshake completed, or its connection closed: the next one may begin. */
  leave(ctx: StreamContext): void {
    if (!this.#under.delete(ctx)) return
    if (this.#line.length === 0) this.#rest()
    else this.#turn ??= setImmediate(this.#next)
  }

  /**
   * One listener for all connections of an app. It runs first, since a throwing listener stops the
   * others.
   */
  #listen(app: Cio): void {
    if (this.#apps.has(app)) return
    this.#apps.add(app)
    app.prependListener('secure', (ctx) => this.leave(ctx))
    app.prependListener('plaintext', (ctx) => this.leave(ctx))
  }

  #look(): void {
    // One turn of the event loop later: if this process was blocked, it reads the pending input
    // first.
    setImmediate(() => {
      // A copy: handshakes that begin meanwhile have had no time to make progress.
      const under = [...this.#under]
      // Release only as many as there are waiting connections: the others may still complete.
      let waiting = this.#line.length
      for (const [ctx, before] of under) {
        if (waiting === 0) break
        const read = ctx.socket?.bytesRead ?? 0
        const looks = before.looks + 1
        if (read === before.read || looks > mostLooks) {
          this.leave(ctx)
          waiting--
        } else if (this.#under.has(ctx)) this.#under.set(ctx, { read, looks })
      }
      this.#watch()
    })
  }

  #rest(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
