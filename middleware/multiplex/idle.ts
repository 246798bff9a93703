/** Waits until a session has no open streams. */

export class Idle {
  readonly #isIdle: () => boolean
  readonly #waiting = new Set<() => void>()

  constructor(isIdle: () => boolean) {
    this.#isIdle = isIdle
  }

  /** Fulfils when the session is idle. */
  async wait(): Promise<void> {
    while (!this.#isIdle()) await new Promise<void>((resolve) => this.#waiting.add(resolve))
  }

  /** Checks again, after a stream or a handler has ended. */
  wake(): void {
    if (!this.#isIdle()) return
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}
