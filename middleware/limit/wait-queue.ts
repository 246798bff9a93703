/** A first-come, first-served wait queue. */

import type { Duplex } from 'node:stream'

/** How a wait ended: it was its turn, the time was over, or the stream closed. */
export type Ending = 'turn' | 'late' | 'gone'

interface Waiting {
  readonly until: number
  readonly end: (ending: Ending) => void
}

/** A queue: first come, first served, each entry with the same maximum wait. */
export class WaitQueue {
  readonly #timeout: number
  readonly #mayExpire: () => boolean
  // A Set is a queue that allows removal from the middle.
  readonly #waiting = new Set<Waiting>()
  #timer: NodeJS.Timeout | undefined

  /**
   * @param timeout Milliseconds; `Infinity` waits for ever
   * @param mayExpire False while waiting entries are about to have their turn
   */
  constructor(timeout: number, mayExpire: () => boolean = () => true) {
    this.#timeout = timeout
    this.#mayExpire = mayExpire
  }

  /** Number of waiting entries. */
  get length(): number {
    return this.#waiting.size
  }

  /**
   * Waits for the turn, or until the stream closes.
   *
   * @param take Called at the turn, before the next entry can have its turn
   */
  join(stream: Duplex, take: () => void): Promise<Ending> {
    return new Promise((resolve) => {
      const end = (ending: Ending): void => {
        this.#waiting.delete(one)
        stream.off('close', leave)
        if (ending === 'turn') take()
        resolve(ending)
        // An empty queue needs no timer.
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

  /** Lets the first entry continue; false if the queue is empty. */
  call(): boolean {
    const [first] = this.#waiting
    first?.end('turn')
    return first !== undefined
  }

  /** One timer for all: entries expire in the order in which they joined. */
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
