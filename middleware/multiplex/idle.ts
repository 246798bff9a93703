/** Waiting until a session has nothing open. */

export class Idle {
  readonly #isIdle: () => boolean
  readonly #waiting = new Set<() => void>()

  constructor(isIdle: () => boolean) {
    this.#isIdle = isIdle
  }

  /** Fulfils when it is idle. */
  async wait(): Promise<void> {
    while (!this.#isIdle()) await new Promise<void>((resolve) => this.#waiting.add(resolve))
  }

  /** Looks again: something is over. */
  wake(): void {
    if (!this.#isIdle()) return
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }
}
