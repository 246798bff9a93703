import { debug } from '../src/debug.ts'
import { emitSafely, reportError } from '../src/lifecycle/app-events.ts'
import { CioError, asError, quote } from '../src/errors.ts'
import type { MessagesContext } from '../src/messages/messages.ts'
import { type Middleware, defineMiddleware } from '../src/pipeline/middleware.ts'
import { checkCount, checkOptionNames } from '../src/options.ts'
import { provide } from '../src/lifecycle/provide.ts'
import type { StreamContext } from '../src/lifecycle/stream-context.ts'
import { handled, unawaited } from '../src/lifecycle/unawaited.ts'
import { Membership, type RoomMembership, endMembership } from './rooms/membership.ts'
import { OpenRooms, type RoomWatcher } from './rooms/open-rooms.ts'
import type { Room, RoomSent } from './rooms/room.ts'
import { DeliveryTurns } from './rooms/delivery-turns.ts'

const log = debug('cio:rooms')

export type { RoomMembership } from './rooms/membership.ts'
export type { RoomWatcher } from './rooms/open-rooms.ts'

/** Options of {@link rooms}. */
export interface RoomsOptions {
  /**
   * Maximum bytes that wait for one member. Above it, Cio closes the member's connection, so that
   * unread messages do not fill the memory. The same bound applies to the messages of one room that
   * are not delivered to all members yet. `Infinity` sets no bound.
   *
   * @default 1_048_576
   */
  readonly maxBacklog?: number
  /**
   * Maximum rooms that one connection may join. `Infinity` sets no bound.
   *
   * @default 100
   */
  readonly maxRooms?: number
}

/** Options of `send()` of {@link Rooms}. */
export interface RoomSendOptions {
  /**
   * A member that does not get the message, such as its author.
   *
   * @default none
   */
  readonly except?: StreamContext
  /**
   * Sends only to the members of this instance, if the rooms extend over several instances.
   *
   * @default false
   */
  readonly local?: boolean
}

/** The context that {@link rooms} adds. */
export interface RoomsContext {
  /** The rooms of the connection. */
  rooms: RoomMembership
}

/**
 * The middleware, with the methods that reach its members. {@link rooms} has the members of one
 * process; a package may implement the same interface for several processes.
 */
export interface Rooms<
  Out = unknown,
  Member extends StreamContext = StreamContext,
> extends Middleware<StreamContext & MessagesContext<unknown, Out>, RoomsContext> {
  /**
   * Sends a message to the current members, at most once to each. A member gets the messages of one
   * room in the order of `send()`. Fulfils when Cio has passed the message to their connections: at
   * once, or some turns of the event loop later if the room is large. Do not change the message
   * before that. It never waits for a member that does not read.
   *
   * @throws `ERR_CIO_ENCODE` (local): a codec cannot encode it; members with another codec may have
   * got it
   * @throws `ERR_CIO_QUEUE_SIZE` (local): messages of more than `maxBacklog` bytes are not
   * delivered yet in this room; await `send()` before the next
   */
  send(room: string, message: Out, options?: RoomSendOptions): Promise<RoomSent>
  /** The current members of a room on this instance. */
  members(room: string): ReadonlySet<Member>
}

declare module '../src/lifecycle/app.ts' {
  interface AppEvents {
    /**
     * `rooms` closes a member: more than `maxBacklog` bytes wait for it. `remoteError` reports it
     * as well.
     */
    slowMember: [error: CioError, ctx: StreamContext, room: string]
  }
}

const defaultMaxBacklog = 1024 * 1024
const defaultMaxRooms = 100

/**
 * Rooms: broadcast of one message to many connections (publish-subscribe).
 *
 * A connection joins rooms by `ctx.rooms.join()`. `send()` of the middleware itself passes a
 * message to all members of a room; you may call it anywhere. Cio encodes the message once for all
 * connections of one codec, and writes to 500 members in one turn of the event loop.
 *
 * A member that does not read does not delay the others: above `maxBacklog` Cio closes its
 * connection. There is no history, and no confirmation that a member has received a message. The
 * second argument, a `RoomWatcher`, is for a package that extends rooms over several instances: Cio
 * calls it when a room gets its first member and loses its last one.
 *
 * @pipelines connection, client
 * @order after a codec
 * @adds `ctx.rooms`; the middleware itself has `send` and `members`
 * @rejects `ERR_CIO_SLOW_MEMBER` (remote): more than `maxBacklog` bytes wait for the connection;
 *   `ERR_CIO_ROOMS` (remote), from `join()`: the connection is in `maxRooms` rooms, or the name is
 *   too long
 * @throws `ERR_CIO_OPTION`: an option is out of its range
 *
 * @example
 * import { Cio, json, rooms } from 'cio'
 *
 * const chat = rooms<{ text: string }>()
 * const app = new Cio()
 *   .useConnection(json<{ room: string; text: string }>())
 *   .useConnection(chat)
 *   .useConnection(async (ctx) => {
 *     for await (const { room, text } of ctx.messages) {
 *       await ctx.rooms.join(room)
 *       await chat.send(room, { text }, { except: ctx })
 *     }
 *   })
 * const server = await app.listen(0)
 * await server.close()
 */
export function rooms<Out = unknown, Member extends StreamContext = StreamContext>(
  options: RoomsOptions = {},
  watcher?: RoomWatcher,
): Rooms<Out, Member> {
  checkOptionNames('rooms', options, ['maxBacklog', 'maxRooms'])
  const { maxBacklog = defaultMaxBacklog, maxRooms = defaultMaxRooms } = options
  checkCount('rooms', 'maxBacklog', maxBacklog)
  checkCount('rooms', 'maxRooms', maxRooms)
  const open = new OpenRooms<Out>(maxBacklog, closeSlow, watcher)
  const turns = new DeliveryTurns()

  const middleware = defineMiddleware<StreamContext & MessagesContext<unknown, Out>, RoomsContext>(
    { name: 'rooms', pipelines: ['connection', 'client'] },
    async function rooms(ctx, next) {
      const membership = new Membership(ctx, open, maxRooms)
      await provide(ctx, 'rooms', membership, async () => {
        try {
          await next()
        } finally {
          endMembership(membership)
        }
      })
    },
  )

  return Object.assign(middleware, {
    send(name: string, message: Out, options: RoomSendOptions = {}): Promise<RoomSent> {
      checkOptionNames('send', options, ['except', 'local'])
      const { except } = options
      const room = open.find(name)
      return room ? sendTo(room, turns, message, except) : Promise.resolve({ members: 0 })
    },
    members: (name: string) => new Set(open.find(name)?.contexts) as ReadonlySet<unknown>,
  }) as Rooms<Out, Member>
}

function sendTo<Out>(
  room: Room<Out>,
  turns: DeliveryTurns,
  message: Out,
  except: StreamContext | undefined,
): Promise<RoomSent> {
  const [first] = room.contexts
  const refuse = (error: Error): Promise<never> => {
    const refused = handled(Promise.reject(error))
    // A fault of the application and not of that member; nothing need await it.
    return first ? unawaited(first, refused, () => reportError(first.app, error)) : refused
  }
  try {
    const delivery = room.send(message, except)
    turns.deliver(room)
    const result = (): RoomSent => ({ members: delivery.members })
    if (delivery.failure) return refuse(delivery.failure)
    if (delivery.isDone) return Promise.resolve(result())
    return new Promise((resolve) => {
      delivery.settle = () => resolve(delivery.failure ? refuse(delivery.failure) : result())
    })
  } catch (thrown) {
    return refuse(asError(thrown))
  }
}

function closeSlow(ctx: StreamContext, room: string, waiting: number): void {
  const error = new CioError(
    'ERR_CIO_SLOW_MEMBER',
    `${ctx.remote} does not read what is sent to ${quote(room)}: ${waiting} bytes wait for it`,
    { fault: 'remote', end: 'not_reading' },
  )
  log('%d %s', ctx.id, error.message)
  emitSafely(ctx.app, 'slowMember', error, ctx, room)
  // A client may reconnect; a server connection cannot.
  if (ctx.kind === 'connection') ctx.destroy(error)
  else ctx.disconnect(error)
}

export { rooms as default }
