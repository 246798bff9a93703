/**
 * Numbered messages: a client that keeps each until it is acknowledged and sends it again on the
 * next connection, and a server that deals with each once. Between them nothing may be lost or
 * done twice, whatever happens to the connections.
 */

import type { ExecutionContext } from 'ava'
import {
  Cio,
  type ClientContext,
  type Messages,
  type ReconnectOptions,
  json,
  reconnect,
} from '../../src/index.ts'

interface Numbered {
  readonly number: number
}

interface Acknowledged {
  readonly seen: number
}

type Talking = ClientContext & { readonly messages: Messages<Acknowledged, unknown> }

/** The client's side. */
export class Sender {
  readonly app: Cio<object, { messages: Messages<Acknowledged, unknown> }>
  /** What the server has not acknowledged, in order. */
  readonly unacknowledged: Numbered[] = []
  last = 0
  /** How many sends have failed at once. */
  rejected = 0
  #ctx: Talking | undefined
  #acknowledged = (): void => {}

  constructor(t: Pick<ExecutionContext, 'teardown'>, options: ReconnectOptions = {}) {
    this.app = new Cio()
      .useClient(reconnect({ delay: 2, factor: 1.2, maxDelay: 50, ...options }))
      .useClient(json<Acknowledged>())
      .useClient(async (ctx, next) => {
        await ctx.messages.sendMany([...this.unacknowledged])
        await Promise.all([ctx.messages.each((message) => this.#note(message)), next()])
      })
    t.teardown(() => this.app.close({ timeout: 0 }))
  }

  async connect(options: Parameters<Cio['connect']>[0]): Promise<ClientContext> {
    this.#ctx = await this.app.connect(options)
    return this.#ctx
  }

  /** Sends so many; whatever comes of it, each is in the list. */
  post(count: number): void {
    for (let sent = 0; sent < count; sent++) {
      const message = { number: ++this.last }
      this.unacknowledged.push(message)
      this.#ctx!.messages.send(message).catch(() => (this.rejected += 1))
    }
  }

  /** Fulfils when the server has acknowledged all. */
  async settled(): Promise<void> {
    while (this.unacknowledged.length > 0) {
      await new Promise<void>((resolve) => (this.#acknowledged = resolve))
    }
  }

  #note({ seen }: Acknowledged): void {
    while (this.unacknowledged[0] && this.unacknowledged[0].number <= seen) {
      this.unacknowledged.shift()
    }
    this.#acknowledged()
  }
}

/** The server's side. */
export class Receiver {
  readonly app: Cio
  /** The numbers that it has dealt with, in their order. */
  readonly dealt: number[] = []
  /** What came on each connection, in its order. */
  readonly came: number[][] = []

  constructor(t: ExecutionContext) {
    this.app = new Cio().useConnection(json<Numbered>()).useConnection(async ({ messages }) => {
      const own: number[] = []
      this.came.push(own)
      for await (const { number } of messages) {
        own.push(number)
        if (number > (this.dealt.at(-1) ?? 0)) this.dealt.push(number)
        await messages.send({ seen: this.dealt.at(-1)! })
      }
    })
    this.app.on('remoteError', () => {})
    t.teardown(() => this.app.close({ timeout: 0 }))
  }
}

/** Every number was dealt with once, in order, and no connection has a gap. */
export function assertNoneLost(t: ExecutionContext, sender: Sender, receiver: Receiver): void {
  t.deepEqual(receiver.dealt, countTo(sender.last))
  for (const own of receiver.came) {
    t.deepEqual(
      own,
      own.map((_, index) => own[0]! + index),
      'a connection without a gap, and without a repetition',
    )
  }
}

export function countTo(last: number): number[] {
  return Array.from({ length: last }, (_, index) => index + 1)
}
