/** A budget of handshakes: so many at once, one more in each turn of the event loop. */

import type { Cio } from '../../src/cio.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { type Ending, WaitQueue } from './wait-queue.ts'

/** Milliseconds between two looks at who makes progress, while somebody waits. */
const stallInterval = 100
/** Looks after which a handshake does not count any more, whatever it sends. */
const mostLooks = 5

/** A handshake that counts: what had been read at the last look, and how many looks there were. */
interface Progress {
  readonly read: number | undefined
  readonly looks: number
}

const begun: Progress = { read: undefined, looks: 0 }

/**
 * Handshakes that are under way.
 *
 * At most one begins in each turn of the event loop. Handshakes that begin together stay in step: in
 * each turn the signatures of all of them are made, a millisecond or two each, before a connection
 * that lives is served.
 *
 * One stops to count when it is done, when its connection is gone, or, while others wait, when its
 * peer has not sent a byte for a while, or has not come to the end in five times that: such a one
 * costs nothing, and a few hundred peers that begin a handshake and fall silent, or go on byte by
 * byte, could otherwise keep everybody out.
 */
export class HandshakeLimiter {
  readonly #most: number
  readonly #mostWaiting: number
  readonly #line: WaitQueue
  readonly #under = new Map<StreamContext, Progress>()
  readonly #apps = new WeakSet<Cio>()
  #timer: NodeJS.Timeout | undefined
  /** Nothing begins until it has been called. */
  #turn: NodeJS.Immediate | undefined

  /** @param timeout Milliseconds that one waits in line */
  constructor(most: number, mostWaiting: number, timeout: number) {
    this.#most = most
    this.#mostWaiting = mostWaiting
    this.#line = new WaitQueue(timeout, () => !this.#hasRoom)
  }

  /** How many are under way. */
  get count(): number {
    return this.#under.size
  }

  /** How many wait. */
  get waiting(): number {
    return this.#line.length
  }

  /** Waits for one's turn; from then on it counts. Late at once where too many wait. */
  enter(ctx: StreamContext): Promise<Ending> | Ending {
    this.#listen(ctx.app)
    // Not past those who wait.
    if (!this.#turn && this.#line.length === 0 && this.#hasRoom) {
      this.#begin(ctx)
      return 'turn'
    }
    // A wait for the next turns of the loop alone is no reason to refuse.
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

  /** It is done, or gone: the next one may begin. */
  leave(ctx: StreamContext): void {
    if (!this.#under.delete(ctx)) return
    if (this.#line.length === 0) this.#rest()
    else this.#turn ??= setImmediate(this.#next)
  }

  /** One listener for all connections of an app; the first, since one that throws is the last. */
  #listen(app: Cio): void {
    if (this.#apps.has(app)) return
    this.#apps.add(app)
    app.prependListener('secure', (ctx) => this.leave(ctx))
    app.prependListener('plaintext', (ctx) => this.leave(ctx))
  }

  #look(): void {
    // Once around the loop, in case it was this side that stood still: what has come is read by then.
    setImmediate(() => {
      // As they are now: those whose turn comes meanwhile have had no time to make progress.
      const under = [...this.#under]
      // As many stop to count as there are who wait: the others may yet come to their end.
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
