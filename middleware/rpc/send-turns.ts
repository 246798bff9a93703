/** The order in which answers are sent, and requests begun, while the peer does not read. */

import type { Pump } from '../../src/messages/pump.ts'

type Task = () => void

/**
 * Runs tasks one by one, each when there is room for what it sends.
 *
 * Without it, as many answers as there may be requests would be written at once, and the largest of
 * them decide whether the send queue overflows: the peer chooses them.
 */
export class SendTurns {
  readonly #pump: Pump
  readonly #answers: Task[] = []
  readonly #requests: Task[] = []
  #running = false

  constructor(pump: Pump) {
    this.#pump = pump
  }

  /** Whether there is room now, and nothing waits for it. */
  get isFree(): boolean {
    return !this.#running && !this.#pump.drained()
  }

  /** Lets an answer wait for room; it goes before the requests that wait. */
  answer(task: Task): void {
    this.#answers.push(task)
    if (!this.#running) void this.#run()
  }

  /** Lets a request wait until there is room for its answer. */
  begin(task: Task): void {
    this.#requests.push(task)
    if (!this.#running) void this.#run()
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#answers.length + this.#requests.length > 0) {
      try {
        await this.#pump.drained()
      } catch {
        // The connection closed: each task finds that out by itself.
      }
      const task = this.#answers.shift() ?? this.#requests.shift()
      task?.()
    }
    this.#running = false
  }
}
