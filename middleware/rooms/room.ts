/** The members of one room, and the messages that are being delivered to them. */

import { CioError, asError, quote } from '../../src/errors.ts'
import type { Encoded } from '../../src/messages/encoded.ts'
import type { Messages } from '../../src/messages/messages.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import { isRefused } from '../../src/lifecycle/unawaited.ts'

/** The parts of a member that its room uses. */
interface Member<Out> {
  readonly ctx: StreamContext
  readonly messages: Messages<unknown, Out>
  /** Members are numbered in the order in which they join. */
  readonly joined: number
}

/** Receives a member that reads too slowly, and the bytes that wait for it. */
export type Slow = (ctx: StreamContext, room: string, waiting: number) => void

/** The result of `send()`: how many members the message reached. */
export interface RoomSent {
  /** The number of members of this instance to whose connections the message was passed. */
  readonly members: number
}

/** A message that is being delivered: it continues at the member where it stopped. */
export interface Delivery<Out> {
  readonly message: Out
  readonly except: StreamContext | undefined
  /** One encoded message for each codec of the room, made when it is needed. */
  readonly encoded: Encoded[]
  readonly size: number
  /** Members that joined later do not get it. */
  readonly upTo: number
  readonly rest: Iterator<Member<Out>>
  members: number
  failure: Error | undefined
  isDone: boolean
  /** Called when all members have it. */
  settle: (() => void) | undefined
}

/** The members of a room in the order in which they joined. */
export class Room<Out> {
  readonly #name: string
  readonly #maxBacklog: number
  readonly #slow: Slow
  readonly #members = new Map<StreamContext, Member<Out>>()
  readonly #underWay: Delivery<Out>[] = []
  #joins = 0
  /** Bytes of the messages that are being delivered. */
  #backlog = 0

  constructor(name: string, maxBacklog: number, slow: Slow) {
    this.#name = name
    this.#maxBacklog = maxBacklog
    this.#slow = slow
  }

  get size(): number {
    return this.#members.size
  }

  get contexts(): Iterable<StreamContext> {
    return this.#members.keys()
  }

  /** Whether messages are being delivered. */
  get isBusy(): boolean {
    return this.#underWay.length > 0
  }

  /** Does nothing for a member. */
  add(ctx: StreamContext, messages: Messages<unknown, Out>): void {
    if (this.#members.has(ctx)) return
    this.#members.set(ctx, { ctx, messages, joined: ++this.#joins })
  }

  remove(ctx: StreamContext): void {
    this.#members.delete(ctx)
  }

  /**
   * Queues a message; `deliver` passes it on.
   *
   * @throws `ERR_CIO_ENCODE`, `ERR_CIO_QUEUE_SIZE` (local)
   */
  send(message: Out, except: StreamContext | undefined): Delivery<Out> {
    const [first] = this.#members.values()
    const encoded = first ? [first.messages.encode(message)] : []
    const size = encoded[0]?.size ?? 0
    if (this.#backlog > this.#maxBacklog) {
      throw new CioError(
        'ERR_CIO_QUEUE_SIZE',
        `rooms: ${this.#backlog} bytes are under way to the members of ${quote(this.#name)}, more than \`maxBacklog\`; await send() before the next`,
      )
    }
    this.#backlog += size
    const delivery: Delivery<Out> = {
      message,
      except,
      encoded,
      size,
      upTo: this.#joins,
      rest: this.#members.values(),
      members: 0,
      failure: undefined,
      isDone: false,
      settle: undefined,
    }
    this.#underWay.push(delivery)
    return delivery
  }

  /** Passes messages on to at most so many members; returns how much of that number is left. */
  deliver(most: number): number {
    let left = most
    while (left > 0 && this.#underWay.length > 0) {
      const delivery = this.#underWay[0]!
      left = this.#continue(delivery, left)
      if (left === 0) break
      this.#underWay.shift()
      this.#backlog -= delivery.size
      delivery.isDone = true
      delivery.settle?.()
    }
    return left
  }

  /** Returns 0 if there may be members left. */
  #continue(delivery: Delivery<Out>, most: number): number {
    const { rest, upTo, except } = delivery
    let left = most
    while (left > 0) {
      const { value, done } = rest.next()
      if (done || value.joined > upTo) return left
      if (value.ctx === except) continue
      left -= 1
      this.#pass(delivery, value)
    }
    return 0
  }

  #pass(delivery: Delivery<Out>, member: Member<Out>): void {
    const { ctx, messages } = member
    if (!messages.isOpen) return
    const waiting = messages.queued
    if (waiting > this.#maxBacklog) return this.#slow(ctx, this.#name, waiting)
    let encoded = delivery.encoded[0]!
    if (!messages.accepts(encoded)) {
      const own = this.#encodedFor(delivery, messages)
      if (!own) return
      encoded = own
    }
    const sent = messages.sendEncoded(encoded)
    if (isRefused(sent)) {
      // Awaited, so that it is not reported as a fault of the application.
      sent.catch(() => {})
      return this.#slow(ctx, this.#name, waiting)
    }
    delivery.members += 1
  }

  /** The message in the form of another codec; undefined if that codec cannot encode it. */
  #encodedFor(delivery: Delivery<Out>, messages: Messages<unknown, Out>): Encoded | undefined {
    const { encoded, message } = delivery
    const known = encoded.find((one) => messages.accepts(one))
    if (known || delivery.failure) return known
    try {
      const own = messages.encode(message)
      encoded.push(own)
      return own
    } catch (thrown) {
      delivery.failure ??= asError(thrown)
      return undefined
    }
  }
}
