/** Those who wait for their turn. */

import type { Duplex } from 'node:stream'

/** How a wait has ended: at one's turn, when the time had passed, or because the stream is gone. */
export type Ending = 'turn' | 'late' | 'gone'

interface Waiting {
  readonly until: number
  readonly end: (ending: Ending) => void
}

/** A line: first come, first served, each within the same bounded time. */
export class WaitQueue {
  readonly #timeout: number
  readonly #mayExpire: () => boolean
  // A Set is a queue from whose middle one can leave.
  readonly #waiting = new Set<Waiting>()
  #timer: NodeJS.Timeout | undefined

  /**
   * @param timeout Milliseconds; `Infinity` waits for ever
   * @param mayExpire False while those who wait are about to have their turn
   */
  constructor(timeout: number, mayExpire: () => boolean = () => true) {
    this.#timeout = timeout
    this.#mayExpire = mayExpire
  }

  /** How many wait. */
  get length(): number {
    return this.#waiting.size
  }

  /**
   * Waits for one's turn, unless the stream is gone before.
   *
   * @param take Called at the turn, before anybody else can have one
   */
  join(stream: Duplex, take: () => void): Promise<Ending> {
    return new Promise((resolve) => {
      const end = (ending: Ending): void => {
        this.#waiting.delete(one)
        stream.off('close', leave)
        if (ending === 'turn') take()
        resolve(ending)
        // Nothing is left to wake up for.
        if (this.#waiting.size === 0) this.#stop()
      }
      const leave = (): void => end('gone')
      const one = { until: performance.now() + this.#timeout, end }
      this.#waiting.add(one)
      if (stream.destroyed) return leave()
      stream.once('close', leave)
      if (this.#timeout !== Infinity)
        this.#timer ??= setTimeout(() => this.#expire(), this.#timeout)
    })
  }

  /** Lets the first one go on; false where nobody waits. */
  call(): boolean {
    const [first] = this.#waiting
    first?.end('turn')
    return first !== undefined
  }

  /** One timer for all: they leave in the order in which they came. */
  #expire(): void {
    const now = performance.now()
    this.#timer = undefined
    for (const { until, end } of this.#waiting) {
      // Node's timers round down.
      const left = Math.ceil(until - now)
      if (left > 1 || !this.#mayExpire()) {
        this.#timer = setTimeout(() => this.#expire(), left)
        return
      }
      end('late')
    }
  }

  #stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }
}
