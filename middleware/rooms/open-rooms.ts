/** The rooms that have members on this instance. */

import type { Messages } from '../../src/messages/messages.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { Room, type Slow } from './room.ts'

/**
 * Gets the first and the last member of each room on this instance. For rooms that extend over
 * several instances.
 */
export interface RoomWatcher {
  /**
   * A room gets its first member. Each `join()` waits for the promise, and rejects if it throws.
   */
  opened(room: string): Promise<void>
  /** The last member of a room has left. */
  closed(room: string): void
}

interface OpenRoom<Out> {
  readonly room: Room<Out>
  readonly known: Promise<void> | undefined
}

export class OpenRooms<Out> {
  readonly #all = new Map<string, OpenRoom<Out>>()
  readonly #maxBacklog: number
  readonly #slow: Slow
  readonly #watcher: RoomWatcher | undefined

  constructor(maxBacklog: number, slow: Slow, watcher?: RoomWatcher) {
    this.#maxBacklog = maxBacklog
    this.#slow = slow
    this.#watcher = watcher
  }

  find(name: string): Room<Out> | undefined {
    return this.#all.get(name)?.room
  }

  /** Adds a member. The promise, if any, fulfils when the watcher has noted the room. */
  join(
    name: string,
    ctx: StreamContext,
    messages: Messages<unknown, Out>,
  ): Promise<void> | undefined {
    let found = this.#all.get(name)
    if (!found) {
      const known = this.#watcher?.opened(name)
      found = { room: new Room(name, this.#maxBacklog, this.#slow), known }
      this.#all.set(name, found)
    }
    found.room.add(ctx, messages)
    return found.known
  }

  leave(name: string, ctx: StreamContext): void {
    const { room } = this.#all.get(name)!
    room.remove(ctx)
    if (room.size > 0) return
    this.#all.delete(name)
    this.#watcher?.closed(name)
  }
}
