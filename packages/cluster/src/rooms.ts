/** Rooms whose members are on several instances. */

import {
  type RoomSendOptions,
  type RoomSent,
  type Rooms,
  type RoomsOptions as LocalRoomsOptions,
  type StreamContext,
  rooms as localRooms,
} from 'cio'
import { asError, checkOptionNames, debug, unawaited, whenUntaken } from 'cio/kit'
import type { Cluster } from './cluster.ts'
import { type Incoming, checkPayload } from './engine.ts'
import { encodeName } from './names.ts'
import { checkCluster } from './reserve.ts'
import { Interest } from './rooms/interest.ts'
import { decodeFrame, encodeHeader, startsWith, textOf } from './wire/frames.ts'
import { decodeValue, encodeValue } from './wire/values.ts'

const log = debug('cio:cluster')

/** Options of {@link rooms}: those of `rooms` of `cio`, and a name. */
export interface RoomsOptions extends LocalRoomsOptions {
  /**
   * The name of these rooms, the same on all instances. Two `rooms()` on one cluster need different
   * names.
   *
   * @default 'rooms'
   */
  readonly name?: string
}

/**
 * Rooms over all instances: broadcast and publish-subscribe to many connections of many processes.
 *
 * The same interface as `rooms` of `cio`: to move from one instance to several, change the import.
 * Each instance subscribes to the rooms in which it has members, encodes a message once for each
 * codec, and writes to its own members.
 *
 * At most once. Members of this instance always get a message. Without a broker `send()` rejects
 * with `ERR_CIO_CLUSTER_DOWN`, since members of other instances have missed it. Messages of one
 * sender to one room arrive in order.
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
  checkCluster('rooms', cluster)
  const { engine } = cluster
  const subjectOf = (room: string): string => `${name}.${encodeName(room, 'remote')}`
  const interest = new Interest(engine, name, (room, message) => take(room, message))
  const local = localRooms<Out, Member>(ofCio, {
    opened: (room) => interest.add(room),
    closed: (room) => interest.remove(room),
  })
  cluster.reserve('rooms', name)
  cluster.whileUp(() => interest.renew())
  const sendHere = local.send.bind(local)
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
  /**
   * The header of the previous message of another instance: the next message usually has the same.
   */
  let known: Buffer | undefined
  /** Where the message of a frame begins; -1: it is not of another instance. */
  const startOf = (payload: Uint8Array): number => {
    if (known && startsWith(payload, known)) return known.length
    // The broker sends it back to its sender too.
    if (startsWith(payload, header())) return -1
    const frame = decodeFrame(payload)
    if (frame?.header.kind !== 'room' || textOf(frame.header, 'from') === engine.instance) return -1
    const start = payload.byteLength - frame.body.byteLength
    known = Buffer.from(payload.subarray(0, start))
    return start
  }
  const take = (room: string, { payload }: Incoming): void => {
    const start = startOf(payload)
    if (start < 0) return
    try {
      void sendHere(room, decodeValue(payload, start) as Out)
    } catch (error) {
      log('%s: %s', room, asError(error).message)
    }
  }
  /** A rejection that need not be awaited: a member, if any, reports it. */
  const refused = (room: string, work: Promise<never>): Promise<never> =>
    whenUntaken(work, (error) => {
      const [first] = local.members(room)
      if (first) void unawaited(first, Promise.reject(error))
    })

  return Object.assign(local, {
    send(room: string, message: Out, options: RoomSendOptions = {}): Promise<RoomSent> {
      checkOptionNames('send', options, ['except', 'local'])
      let sent: Promise<RoomSent> | undefined
      try {
        const subject = subjectOf(room)
        // Encoded before anything is sent: otherwise a value that cannot be encoded would reach
        // only some members.
        const frame = encodeValue(message, header())
        checkPayload(subject, frame, engine.maxPayload)
        sent = sendHere(room, message, options)
        if (!options.local) engine.publish(subject, frame)
        return sent
      } catch (thrown) {
        const failed = async (): Promise<never> => {
          await sent
          throw thrown
        }
        return refused(room, failed())
      }
    },
  })
}

export { rooms as default }
