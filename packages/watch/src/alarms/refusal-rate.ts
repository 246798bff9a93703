/** Refusals of the last minute, compared with an average minute of the last hour. */

const minute = 60_000
const hour = 60
/** With fewer refusals in a minute there is no alarm, even if there were none before. */
const few = 60

export class RefusalRate {
  /** Refusals of each minute of the last hour that is over. */
  #minutes: number[] = []
  #minuteBegan = 0
  #refusedBefore: number
  /** The counts at each look of the last minute, the oldest first. */
  #looks: (readonly [at: number, refused: number])[] = []

  /** @param refused How many were refused so far. */
  constructor(refused: number, now = 0) {
    this.#minuteBegan = now
    this.#refusedBefore = refused
    this.#looks.push([now, refused])
  }

  /** The ratio; 0 for few of them, and while there is no minute to compare with. */
  take(refused: number, now: number): number {
    this.#looks.push([now, refused])
    // A count that is a minute old stays: the last minute is the difference to it.
    while (this.#looks[1]![0] <= now - minute) this.#looks.shift()
    const lately = refused - this.#looks[0]![1]
    const average = this.#minutes.reduce((sum, one) => sum + one, 0) / this.#minutes.length
    const isComparable = this.#minutes.length > 0 && lately >= few
    if (now - this.#minuteBegan >= minute) {
      this.#minutes = [...this.#minutes, refused - this.#refusedBefore].slice(-hour)
      this.#minuteBegan = now
      this.#refusedBefore = refused
    }
    return isComparable ? lately / Math.max(1, average) : 0
  }
}
