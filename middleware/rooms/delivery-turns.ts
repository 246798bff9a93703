/** Spreads the delivery to large rooms over turns of the event loop. */

/** A room, for its turns. */
interface Deliverer {
  readonly isBusy: boolean
  /** Delivers to at most so many members; returns how much of that number is left. */
  deliver(most: number): number
}

/** Members in one turn: with ten microseconds for each, reading waits 5 ms at most. */
const perTurn = 500

/**
 * Delivers to a fixed number of members in one turn, over all rooms. Rooms that are not done take
 * turns.
 */
export class DeliveryTurns {
  readonly #busy = new Set<Deliverer>()
  #left = perTurn
  #isScheduled = false

  /** Delivers as many as this turn allows now, and the rest in the next turns. */
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
      // Back to the end of the queue, if it has more.
      this.#busy.delete(room)
      this.deliver(room)
    }
    if (this.#busy.size === 0 || this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#begin)
  }
}
