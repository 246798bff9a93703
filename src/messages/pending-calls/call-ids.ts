/** The ids of calls. After the largest id they begin again at 1. */

/** How many ids of calls that were given up Cio does not use again: as many as 16 bits have. */
const maxGivenUp = 65_536

/** Chooses ids from 1 to a largest one, and knows which of them were used. */
export class CallIds {
  readonly #max: number
  /** Calls that were given up and may still be answered; none if ids are never used again. */
  readonly #givenUp = new Set<number>()
  #last = 0
  #hasWrapped = false

  constructor(max: number) {
    this.#max = max
  }

  /** Whether there is a free id, beside so many that wait for an answer. */
  hasFree(taken: number): boolean {
    return taken + this.#givenUp.size < this.#max
  }

  /** The next free id; ask `hasFree` before. */
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

  /** Takes back the last id, which was not sent. */
  takeBack(): void {
    this.#last -= 1
  }

  /** Reserves the id of a call that was given up, until its answer has come. */
  giveUp(id: number): void {
    if (this.#max === Number.MAX_SAFE_INTEGER) return
    this.#givenUp.add(id)
    if (this.#givenUp.size <= maxGivenUp) return
    // The oldest id comes again only after all other ids. An answer to its first use would be
    // extremely late by then.
    const [oldest] = this.#givenUp
    this.#givenUp.delete(oldest!)
  }

  /** Frees an id: the answer of its given-up call has come. */
  free(id: number): void {
    this.#givenUp.delete(id)
  }

  /** Whether an id was used for a request. */
  wasUsed(id: unknown): id is number {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 1) return false
    return id <= (this.#hasWrapped ? this.#max : this.#last)
  }
}
