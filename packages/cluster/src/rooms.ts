/** Rooms whose members are on several instances. */

import debug from 'debug'
import {
  type MessagesContext,
  type Middleware,
  type RoomSendOptions,
  type RoomSent,
  type Rooms,
  type RoomsContext,
  type RoomsOptions as LocalRoomsOptions,
  type StreamContext,
  defineMiddleware,
  rooms as localRooms,
} from 'cio'
import { asError, checkOptionNames, handled, provide, unawaited } from 'cio/kit'
import type { Cluster } from './cluster.ts'
import { type Incoming, checkPayload } from './engine.ts'
import { encodeName } from './names.ts'
import { Interest } from './rooms/interest.ts'
import { decodeFrame, encodeHeader, joinFrame, textOf } from './wire/frames.ts'
import { decodeValue, encodeValue } from './wire/values.ts'

const log = debug('cio:cluster')

/** Options of {@link rooms}: those of `rooms` of `cio`, and a name. */
export interface RoomsOptions extends LocalRoomsOptions {
  /**
   * The name of these rooms, the same on all instances. Two on one cluster need two.
   *
   * @default 'rooms'
   */
  readonly name?: string
}

/**
 * Rooms over all instances: broadcast and publish-subscribe to many connections of many processes.
 *
 * The same interface as `rooms` of `cio`, so that going from one instance to several changes an
 * import. Each instance subscribes to the rooms in which it has members, encodes a message once for
 * each codec, and writes to its own members.
 *
 * At most once: members of this instance get a message in any case. Without a broker `send()`
 * rejects with `ERR_CIO_CLUSTER_DOWN`, since members of other instances have missed it. Messages of
 * one sender to one room arrive in order.
 *
 * @pipelines connection, client
 * @order after a codec
 * @adds `ctx.rooms`; the middleware itself has `send` and `members`
 * @rejects `ERR_CIO_SLOW_MEMBER` (remote): more than `maxBacklog` bytes wait for the connection;
 *   `ERR_CIO_ROOMS`, `ERR_CIO_NAME_LENGTH` (remote), from `join()`
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio, json } from 'cio'
 * import { cluster, rooms } from '@cio/cluster'
 *
 * const here = cluster()
 * const floors = rooms<{ text: string }>(here)
 * const app = new Cio()
 *   .useServer(here)
 *   .useConnection(json<{ floor: string; text: string }>())
 *   .useConnection(floors)
 *   .useConnection(async (ctx) => {
 *     for await (const { floor, text } of ctx.messages) {
 *       await ctx.rooms.join(floor)
 *       await floors.send(floor, { text })
 *     }
 *   })
 * const server = await app.listen(0)
 * console.log(await floors.send('first', { text: 'hello' })) // { members: 0 }
 * await server.close()
 */
export function rooms<Out = unknown, Member extends StreamContext = StreamContext>(
  cluster: Cluster,
  options: RoomsOptions = {},
): Rooms<Out, Member> {
  checkOptionNames('rooms', options, ['maxBacklog', 'maxRooms', 'name'])
  const { name = 'rooms', ...ofCio } = options
  const local = localRooms<Out, Member>(ofCio)
  cluster.reserve('rooms', name)
  const { engine } = cluster
  const subjectOf = (room: string): string => `${name}.${encodeName(room, 'remote')}`
  const interest = new Interest(engine, `${name}.`, (room, message) => take(room, message))

  let own: { readonly instance: string; readonly header: Buffer } = {
    instance: '',
    header: Buffer.alloc(0),
  }
  const header = (): Buffer => {
    const { instance } = engine
    if (own.instance !== instance) {
      own = { instance, header: encodeHeader({ kind: 'room', from: instance }) }
    }
    return own.header
  }
  const take = (room: string, { payload }: Incoming): void => {
    // The broker gives it back to its sender too.
    const mine = header()
    if (mine.equals(payload.subarray(0, mine.length))) return
    const frame = decodeFrame(payload)
    if (frame?.header.kind !== 'room' || textOf(frame.header, 'from') === engine.instance) return
    try {
      void local.send(room, decodeValue(frame.body) as Out)
    } catch (error) {
      log('%s: %s', room, asError(error).message)
    }
  }
  const send = async (
    room: string,
    message: Out,
    { except, local: isLocal = false }: RoomSendOptions,
  ): Promise<RoomSent> => {
    const subject = subjectOf(room)
    // Before anything is sent: else a value that cannot travel would reach some members only.
    const frame = joinFrame(header(), encodeValue(message))
    checkPayload(subject, frame)
    const sent = local.send(room, message, except ? { except } : {})
    sent.catch(() => {})
    if (!isLocal) {
      try {
        engine.publish(subject, frame)
      } catch (error) {
        await sent
        throw error
      }
    }
    return sent
  }

  const middleware = defineMiddleware<StreamContext & MessagesContext<unknown, Out>, RoomsContext>(
    { name: 'rooms' },
    async function rooms(ctx, next) {
      const inside = async (): Promise<void> => {
        const inner = ctx.rooms
        const { all } = inner
        let isOver = false
        const joined = async (room: string): Promise<void> => {
          await inner.join(room)
          // It has left meanwhile.
          if (isOver || !all.has(room)) return
          try {
            await interest.add(room, subjectOf(room), ctx)
          } catch (error) {
            inner.leave(room)
            throw error
          }
        }
        const membership = {
          join: (room: string) => unawaited(ctx, joined(room)),
          leave: (room: string): void => {
            inner.leave(room)
            interest.remove(room, ctx)
          },
          all,
        }
        try {
          await provide(ctx, 'rooms', membership, next)
        } finally {
          isOver = true
          interest.removeAll(all, ctx)
        }
      }
      await (local as Middleware<typeof ctx>)(ctx, inside)
    },
  )
  return Object.assign(middleware, {
    send(room: string, message: Out, options: RoomSendOptions = {}): Promise<RoomSent> {
      checkOptionNames('send', options, ['except', 'local'])
      const sent = send(room, message, options)
      const [first] = local.members(room)
      return first ? unawaited(first, sent) : handled(sent)
    },
    members: (room: string) => local.members(room),
  }) as Rooms<Out, Member>
}

export { rooms as default }
