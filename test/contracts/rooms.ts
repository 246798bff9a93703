/**
 * The promises of `Rooms`, whether its members are in one process or in many; called by the test of
 * each that implements it. The members are spread over all instances.
 */

import type { ExecutionContext, TestFn } from 'ava'
import { EventEmitter, once } from 'node:events'
import type { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { Cio, type RoomSendOptions, type Rooms, type RoomsContext, json } from '../../src/index.ts'
import { dial, serve } from '../support/serve.ts'

/** One instance: its rooms, and what else its app needs. */
export interface RoomsInstance {
  readonly rooms: Rooms
  /** Registers more, such as the middleware of a server, before the codec. */
  readonly prepare?: (app: Cio) => void
}

/** What the contract tests. */
export interface RoomsSample {
  /**
   * Creates instances that share their rooms, with these options. What it opens, it closes with the
   * test.
   */
  create(
    t: ExecutionContext,
    options?: { readonly maxRooms?: number; readonly maxBacklog?: number },
  ): Promise<readonly RoomsInstance[]> | readonly RoomsInstance[]
}

/** What a client asks for; its server answers each with what the call gave. */
type Question =
  | { readonly join: string }
  | { readonly leave: string }
  | { readonly send: string; readonly message: unknown; readonly options?: RoomSendOptions }
  | { readonly others: string; readonly message: unknown }

/** A connection to one of the instances. */
class Client {
  readonly socket: Socket
  readonly received: unknown[] = []
  readonly #heard = new EventEmitter()

  constructor(socket: Socket) {
    this.socket = socket
    createInterface({ input: socket }).on('line', (line) => {
      const said = JSON.parse(line) as { answer?: unknown; message?: unknown }
      if ('answer' in said) this.#heard.emit('answer', said.answer)
      else this.received.push(said.message)
      this.#heard.emit('line')
    })
  }

  async ask(question: Question): Promise<unknown> {
    const answered = once(this.#heard, 'answer')
    this.socket.write(`${JSON.stringify(question)}\n`)
    return (await answered)[0]
  }

  /** Waits until so many messages have been received. */
  async has(count: number): Promise<void> {
    while (this.received.length < count) await once(this.#heard, 'line')
  }
}

interface Opened {
  readonly clients: readonly Client[]
  readonly apps: readonly Cio[]
  readonly instances: readonly RoomsInstance[]
}

/** Opens so many clients, in turn at each instance. */
async function open(
  t: ExecutionContext,
  sample: RoomsSample,
  count: number,
  options?: Parameters<RoomsSample['create']>[1],
): Promise<Opened> {
  const instances = await sample.create(t, options)
  const apps: Cio[] = []
  const servers = await Promise.all(
    instances.map(({ rooms, prepare }) => {
      const app = new Cio()
      app.on('remoteError', () => {})
      apps.push(app)
      prepare?.(app)
      const whole = app
        .useConnection(json<Question>())
        .useConnection(rooms)
        .useConnection(async (ctx) => {
          for await (const question of ctx.messages) {
            const answer = await reply(question).catch((error: { code?: string }) => error.code)
            await ctx.messages.send({ answer: answer ?? null })
          }
          async function reply(question: Question): Promise<unknown> {
            if ('join' in question) return ctx.rooms.join(question.join)
            if ('leave' in question) return ctx.rooms.leave(question.leave)
            if ('others' in question) {
              const { others, message } = question
              return rooms.send(others, { message }, { except: ctx })
            }
            const { send, message, options: given } = question
            return rooms.send(send, { message }, given)
          }
        })
      return serve(t, whole)
    }),
  )
  const sockets = await Promise.all(
    Array.from({ length: count }, (_, index) => dial(t, servers[index % servers.length]!)),
  )
  return { clients: sockets.map((socket) => new Client(socket)), apps, instances }
}

/** Registers the contract's tests. */
export function roomsContract(test: TestFn, sample: RoomsSample): void {
  test('each member of a room gets what is sent, in order, and no other connection does', async (t) => {
    const { clients } = await open(t, sample, 6)
    const [outsider, ...members] = clients
    for (const member of members) await member.ask({ join: 'red' })
    await outsider!.ask({ join: 'blue' })
    for (let sent = 0; sent < 20; sent++) await outsider!.ask({ send: 'red', message: sent })
    await outsider!.ask({ send: 'blue', message: 'end' })
    await outsider!.has(1)
    for (const member of members) await member.has(20)
    const numbers = Array.from({ length: 20 }, (_, index) => index)
    for (const member of members) t.deepEqual(member.received, numbers)
    t.deepEqual(outsider!.received, ['end'])
  })

  test('the author may be left out', async (t) => {
    const { clients } = await open(t, sample, 4)
    for (const client of clients) await client.ask({ join: 'red' })
    await clients[0]!.ask({ others: 'red', message: 'for the others' })
    await clients[0]!.ask({ send: 'red', message: 'for all' })
    for (const client of clients) await client.has(client === clients[0] ? 1 : 2)
    t.deepEqual(clients[0]!.received, ['for all'])
    for (const { received } of clients.slice(1))
      t.deepEqual(received, ['for the others', 'for all'])
  })

  test('the answer has the number of members of this instance, and of them alone', async (t) => {
    const { clients, instances } = await open(t, sample, 2 * (await sample.create(t)).length)
    t.deepEqual(await clients[0]!.ask({ send: 'empty', message: 1 }), { members: 0 })
    for (const client of clients) await client.ask({ join: 'red' })
    t.deepEqual(await clients[0]!.ask({ send: 'red', message: 1 }), { members: 2 })
    for (const { rooms } of instances) t.is(rooms.members('red').size, 2)
    t.is(instances[0]!.rooms.members('empty').size, 0)
  })

  test('a message for this instance stays on it', async (t) => {
    const { clients, instances } = await open(t, sample, 2 * (await sample.create(t)).length)
    for (const client of clients) await client.ask({ join: 'red' })
    await clients[0]!.ask({ send: 'red', message: 'local', options: { local: true } })
    await clients[0]!.ask({ send: 'red', message: 'all' })
    for (const [index, client] of clients.entries()) {
      const isHere = index % instances.length === 0
      await client.has(isHere ? 2 : 1)
      t.deepEqual(client.received, isHere ? ['local', 'all'] : ['all'])
    }
  })

  test('a connection that leaves gets nothing more, and may join again', async (t) => {
    const { clients } = await open(t, sample, 2)
    const [author, member] = clients as [Client, Client]
    await member.ask({ join: 'red' })
    await author.ask({ send: 'red', message: 1 })
    await member.has(1)
    await member.ask({ leave: 'red' })
    await member.ask({ leave: 'red' })
    await author.ask({ send: 'red', message: 2 })
    await member.ask({ join: 'red' })
    await member.ask({ join: 'red' })
    await author.ask({ send: 'red', message: 3 })
    await member.has(2)
    await author.ask({ send: 'red', message: 4 })
    await member.has(3)
    t.deepEqual(member.received, [1, 3, 4])
  })

  test('a connection that ends leaves its rooms', async (t) => {
    const { clients, apps, instances } = await open(t, sample, 1)
    await clients[0]!.ask({ join: 'red' })
    await clients[0]!.ask({ join: 'blue' })
    t.is(instances[0]!.rooms.members('red').size, 1)
    const closed = once(apps[0]!, 'close')
    clients[0]!.socket.resetAndDestroy()
    await closed
    t.is(instances[0]!.rooms.members('red').size, 0)
    t.is(instances[0]!.rooms.members('blue').size, 0)
  })

  test('a connection is in maxRooms rooms at most, and names have a bound', async (t) => {
    const { clients } = await open(t, sample, 1, { maxRooms: 2 })
    const [client] = clients as [Client]
    t.is(await client.ask({ join: 'x'.repeat(1_025) }), 'ERR_CIO_ROOMS')
    t.is(await client.ask({ join: 'one' }), null)
    t.is(await client.ask({ join: 'two' }), null)
    t.is(await client.ask({ join: 'one' }), null)
    t.is(await client.ask({ join: 'three' }), 'ERR_CIO_ROOMS')
    await client.ask({ leave: 'one' })
    t.is(await client.ask({ join: 'three' }), null)
  })

  test('a member that does not read is closed, and the others get all', async (t) => {
    const { clients, apps } = await open(t, sample, 4, { maxBacklog: 100_000 })
    const [author, frozen, ...others] = clients as [Client, Client, ...Client[]]
    for (const client of [frozen, ...others]) await client.ask({ join: 'red' })
    frozen.socket.pause()
    const slow = new Promise<{ code: string; fault: string }>((resolve) => {
      for (const app of apps) app.on('slowMember', (error) => resolve(error))
    })
    const closed: boolean[] = []
    void slow.then(() => closed.push(true))
    const message = 'x'.repeat(50_000)
    let sent = 0
    for (; closed.length === 0; sent++) await author.ask({ send: 'red', message })
    const { code, fault } = await slow
    t.is(code, 'ERR_CIO_SLOW_MEMBER')
    t.is(fault, 'remote')
    await author.ask({ send: 'red', message: 'end' })
    for (const other of others) {
      await other.has(sent + 1)
      t.deepEqual(other.received, [...Array.from({ length: sent }, () => message), 'end'])
    }
  })

  test('a connection whose pipeline has returned joins no room', async (t) => {
    const [instance] = await sample.create(t)
    const { rooms, prepare } = instance!
    const app = new Cio()
    prepare?.(app)
    const refused = new Promise((resolve) => {
      app.on('close', (ctx) => {
        const { rooms: own } = ctx as unknown as RoomsContext
        own.join('red').catch((error: { code: string }) => resolve(error.code))
      })
    })
    const whole = app
      .useConnection(json())
      .useConnection(rooms)
      .useConnection(() => {})
    const socket = await dial(t, await serve(t, whole))
    socket.resume().end()
    t.is(await refused, 'ERR_CIO_CLOSED')
    t.is(rooms.members('red').size, 0)
  })
}
