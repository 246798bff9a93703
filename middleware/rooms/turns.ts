/** Spreads the delivery to large rooms over turns of the event loop. */

/** A room, for its turns. */
interface Deliverer {
  readonly isBusy: boolean
  /** Delivers to so many members at most; returns how many are left of these. */
  deliver(most: number): number
}

/** Members in one turn: with ten microseconds for each, reading waits 5 ms at most. */
const perTurn = 500

/** So many members in one turn, over all rooms. Rooms that are not done take turns. */
export class Turns {
  readonly #busy = new Set<Deliverer>()
  #left = perTurn
  #isScheduled = false

  /** Delivers now as far as this turn allows, and the rest in the next ones. */
  deliver(room: Deliverer): void {
    this.#continue(room)
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#begin)
  }

  #continue(room: Deliverer): void {
    this.#left = room.deliver(this.#left)
    if (room.isBusy) this.#busy.add(room)
  }

  readonly #begin = (): void => {
    this.#isScheduled = false
    this.#left = perTurn
    for (const room of this.#busy) {
      if (this.#left === 0) break
      // To the end of the line, if it has more.
      this.#busy.delete(room)
      this.deliver(room)
    }
    if (this.#busy.size === 0 || this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#begin)
  }
}
