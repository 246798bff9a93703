/** The rooms in which this instance has members. */

import type { StreamContext } from 'cio'
import type { Engine, Incoming, Subscription } from '../engine.ts'

interface Room {
  readonly members: Set<StreamContext>
  readonly subscription: Subscription
  /** Fulfils when the broker has the subscription. */
  readonly known: Promise<void>
}

const nothing = new Uint8Array()
const longestWait = 5_000

/** One subscription for each room that has a member here. */
export class Interest {
  readonly #engine: Engine
  readonly #prefix: string
  readonly #take: (room: string, message: Incoming) => void
  readonly #rooms = new Map<string, Room>()

  constructor(engine: Engine, prefix: string, take: (room: string, message: Incoming) => void) {
    this.#engine = engine
    this.#prefix = prefix
    this.#take = take
  }

  /** Fulfils when messages of other instances arrive; at once without a broker. */
  async add(name: string, subject: string, member: StreamContext): Promise<void> {
    let room = this.#rooms.get(name)
    if (!room) {
      const take = (message: Incoming): void => this.#take(name, message)
      const subscription = this.#engine.subscribe(subject, take)
      room = { members: new Set(), subscription, known: this.#known() }
      this.#rooms.set(name, room)
    }
    room.members.add(member)
    await room.known
  }

  remove(name: string, member: StreamContext): void {
    const room = this.#rooms.get(name)
    if (!room?.members.delete(member) || room.members.size > 0) return
    this.#rooms.delete(name)
    room.subscription.unsubscribe()
  }

  removeAll(names: Iterable<string>, member: StreamContext): void {
    for (const name of names) this.remove(name, member)
  }

  /** A broker answers in order: a request to a subject without subscribers comes back after it. */
  async #known(): Promise<void> {
    // No name has this code.
    await this.#engine
      .request(`${this.#prefix}known.known`, nothing, { timeout: longestWait })
      .catch(() => {})
  }
}
