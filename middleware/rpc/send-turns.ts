/** Orders responses and new requests while the peer does not read. */

import type { Pump } from '../../src/messages/pump.ts'

type Task = () => void

/**
 * Runs tasks one by one, each when there is room for its output.
 *
 * Otherwise the responses of all running requests would be written at once. The peer chooses the
 * requests, so it could overflow the send queue with large responses.
 */
export class SendTurns {
  readonly #pump: Pump
  readonly #answers: Task[] = []
  readonly #requests: Task[] = []
  #running = false

  constructor(pump: Pump) {
    this.#pump = pump
  }

  /** Whether there is room now, and no task waits for it. */
  get isFree(): boolean {
    return !this.#running && !this.#pump.drained()
  }

  /** Queues a response until there is room; it goes before waiting requests. */
  answer(task: Task): void {
    this.#answers.push(task)
    if (!this.#running) void this.#run()
  }

  /** Queues a request until there is room for its response. */
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
        // The connection closed: each task detects that by itself.
      }
      const task = this.#answers.shift() ?? this.#requests.shift()
      task?.()
    }
    this.#running = false
  }
}
