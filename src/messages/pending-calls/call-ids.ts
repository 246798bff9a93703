/** The ids of calls, which may begin again. */

/** How many given up ids are kept from being used again: all of a protocol with 16 bits. */
const maxGivenUp = 65_536

/** Chooses ids from 1 to a largest one, and tells those that were used from those that were not. */
export class CallIds {
  readonly #max: number
  /** Calls that were given up and may still be answered; none if ids are never used again. */
  readonly #givenUp = new Set<number>()
  #last = 0
  #hasWrapped = false

  constructor(max: number) {
    this.#max = max
  }

  /** Whether there is one more, beside so many that wait for an answer. */
  hasFree(taken: number): boolean {
    return taken + this.#givenUp.size < this.#max
  }

  /** The next one that is not taken; ask `hasFree` before. */
  next(isTaken: (id: number) => boolean): number {
    do {
      if (this.#last < this.#max) this.#last += 1
      else {
        this.#last = 1
        this.#hasWrapped = true
      }
    } while (this.#hasWrapped && (isTaken(this.#last) || this.#givenUp.has(this.#last)))
    return this.#last
  }

  /** Takes the last one back, which was not sent. */
  takeBack(): void {
    this.#last -= 1
  }

  /** Keeps one from being used again, until its answer has come. */
  giveUp(id: number): void {
    if (this.#max === Number.MAX_SAFE_INTEGER) return
    this.#givenUp.add(id)
    if (this.#givenUp.size <= maxGivenUp) return
    // The oldest is met again after all other ids, and by then its answer is too late to matter.
    const [oldest] = this.#givenUp
    this.#givenUp.delete(oldest!)
  }

  /** The answer of one that was given up has come. */
  free(id: number): void {
    this.#givenUp.delete(id)
  }

  /** Whether it was used for a request. */
  wasUsed(id: unknown): id is number {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 1) return false
    return id <= (this.#hasWrapped ? this.#max : this.#last)
  }
}
