/** The rooms in which this instance has members. */

import type { Engine, Incoming, Subscription } from '../engine.ts'
import { encodeName } from '../names.ts'

const nothing = new Uint8Array()
const longestWait = 5_000

/** One subscription for each room that has a member here. */
export class Interest {
  readonly #engine: Engine
  readonly #name: string
  readonly #take: (room: string, message: Incoming) => void
  readonly #subscriptions = new Map<string, Subscription>()
  #instance = ''

  constructor(engine: Engine, name: string, take: (room: string, message: Incoming) => void) {
    this.#engine = engine
    this.#name = name
    this.#take = take
  }

  /** Fulfils when messages of other instances arrive; at once without a broker. */
  add(room: string): Promise<void> {
    const subject = `${this.#name}.${encodeName(room, 'remote')}`
    const take = (message: Incoming): void => this.#take(room, message)
    this.#subscriptions.set(room, this.#engine.subscribe(subject, take))
    return this.#known()
  }

  /** An engine that was closed has no subscriptions, but a client may still be in a room. */
  renew(): void {
    if (this.#instance === this.#engine.instance) return
    this.#instance = this.#engine.instance
    const rooms = [...this.#subscriptions.keys()]
    for (const room of rooms) {
      this.remove(room)
      void this.add(room)
    }
  }

  remove(room: string): void {
    this.#subscriptions.get(room)?.unsubscribe()
    this.#subscriptions.delete(room)
  }

  /**
   * A broker answers in order, so the answer to this request comes after the subscription is in
   * force.
   */
  async #known(): Promise<void> {
    // No name has this code.
    await this.#engine
      .request(`${this.#name}.known.known`, nothing, { timeout: longestWait })
      .catch(() => {})
  }
}
