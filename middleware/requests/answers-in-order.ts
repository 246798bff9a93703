/** Sends answers in the order of their requests, whichever finishes first. */

type Task = () => void

/** The place of one request. */
export class Place {
  readonly #order: AnswersInOrder
  readonly #tasks: Task[] = []
  #isOver = false

  constructor(order: AnswersInOrder) {
    this.#order = order
  }

  /** Runs a task when all earlier requests have been answered. */
  run(task: Task): void {
    if (this.#order.isFirst(this)) task()
    else this.#tasks.push(task)
  }

  /** Ends the place: nothing more follows. */
  end(): void {
    this.#isOver = true
    this.#order.proceed()
  }

  /** Runs the waiting tasks; returns whether the place has ended. */
  runAll(): boolean {
    for (const task of this.#tasks.splice(0)) task()
    return this.#isOver
  }
}

/** The requests that have not been answered, in their order. */
export class AnswersInOrder {
  readonly #places: Place[] = []
  #isClosed = false

  /** The place of the next request. */
  enter(): Place {
    const place = new Place(this)
    this.#places.push(place)
    return place
  }

  isFirst(place: Place): boolean {
    return this.#isClosed || this.#places[0] === place
  }

  /** Continues with the first request that is not answered. */
  proceed(): void {
    while (this.#places[0]?.runAll()) this.#places.shift()
  }

  /** The connection is lost: runs all tasks, each of which fails by itself. */
  close(): void {
    this.#isClosed = true
    for (const place of this.#places) place.runAll()
  }
}
