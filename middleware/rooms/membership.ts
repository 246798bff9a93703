/** The rooms of one connection. */

import { CioError, quote } from '../../src/errors.ts'
import type { MessagesContext } from '../../src/messages/messages.ts'
import { optionError } from '../../src/options.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { unawaited } from '../../src/lifecycle/unawaited.ts'
import type { OpenRooms } from './open-rooms.ts'

// Bounded: a client often chooses the names, and they stay in memory.
const longestName = 1_024

/** The rooms of one connection. */
export interface RoomMembership {
  /**
   * Joins a room; does nothing if the connection is in it. It leaves all rooms when its pipeline
   * returns.
   *
   * @throws `ERR_CIO_ROOMS` (remote): it would be in more than `maxRooms`, or the name is longer
   *   than 1,024 characters
   * @throws `ERR_CIO_CLOSED` (remote): its pipeline has returned
   */
  join(room: string): Promise<void>
  /** Leaves a room. A message that is still being delivered does not reach it any more. */
  leave(room: string): void
  /** The rooms that the connection is in. */
  readonly all: ReadonlySet<string>
}

/** Leaves all rooms, and joins no more: the pipeline of the connection has returned. */
export let endMembership: <Out>(membership: Membership<Out>) => void

export class Membership<Out> implements RoomMembership {
  static {
    // Not a public method, since `ctx.rooms` is this object.
    endMembership = (membership) => membership.#end()
  }

  readonly all: Set<string> = new Set()
  readonly #ctx: StreamContext & MessagesContext<unknown, Out>
  readonly #open: OpenRooms<Out>
  readonly #maxRooms: number
  #isOver = false

  constructor(
    ctx: StreamContext & MessagesContext<unknown, Out>,
    open: OpenRooms<Out>,
    maxRooms: number,
  ) {
    this.#ctx = ctx
    this.#open = open
    this.#maxRooms = maxRooms
  }

  join(name: string): Promise<void> {
    return unawaited(this.#ctx, this.#join(name))
  }

  async #join(name: string): Promise<void> {
    if (typeof name !== 'string') throw optionError('rooms', 'room', 'a string', name)
    if (this.#isOver) throw overError(this.#ctx)
    const isIn = this.all.has(name)
    if (!isIn && (this.all.size >= this.#maxRooms || name.length > longestName)) {
      throw roomsError(this.#ctx, name, this.#maxRooms)
    }
    const known = this.#open.join(name, this.#ctx, this.#ctx.messages)
    this.all.add(name)
    await known
  }

  leave(name: string): void {
    if (this.all.delete(name)) this.#open.leave(name, this.#ctx)
  }

  #end(): void {
    this.#isOver = true
    for (const name of this.all) this.leave(name)
  }
}

function roomsError(ctx: StreamContext, room: string, maxRooms: number): CioError {
  const why =
    room.length > longestName
      ? `a room whose name has ${room.length} characters; ${longestName} are allowed`
      : `${quote(room)}, and is in ${maxRooms} rooms already, as many as \`maxRooms\``
  return new CioError('ERR_CIO_ROOMS', `${ctx.remote} would join ${why}`, { fault: 'remote' })
}

function overError(ctx: StreamContext): CioError {
  const message = `the connection with ${ctx.remote} is over, and joins no room`
  return new CioError('ERR_CIO_CLOSED', message, { fault: 'remote' })
}
