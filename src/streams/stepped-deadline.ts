/** A deadline that a stall of the event loop does not use up. */

import { type Deadline, startDeadline } from '../deadline.ts'

/** Number of steps. A stall uses up one step, and not the whole time. */
const steps = 4

/** Calls a function after so many milliseconds, unless it is cancelled before; `Infinity` never does. */
export class SteppedDeadline {
  readonly #step: number
  readonly #expire: () => void
  #left = steps
  #deadline: Deadline | undefined

  constructor(duration: number, expire: () => void) {
    this.#step = duration / steps
    this.#expire = expire
    this.#next()
  }

  /** Cancels it. May be called again, and after it has expired. */
  stop(): void {
    this.#left = 0
    this.#deadline?.stop()
  }

  readonly #next = (): void => {
    if (this.#left-- > 0) this.#deadline = startDeadline(this.#step, this.#next)
    else this.#expire()
  }
}
