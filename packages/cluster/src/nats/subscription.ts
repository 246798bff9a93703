/** A subscription to NATS. The engine may have it before it has a connection. */

import type { Msg, NatsConnection, Subscription as OfNats } from '@nats-io/transport-node'
import { debug } from 'cio/kit'
import { type Incoming, type Subscription, checkPayload } from '../engine.ts'

const log = debug('cio:cluster')

/** The engine, as it answers a message. */
export interface Responder {
  readonly maxPayload: number
  respond(subject: string, payload: Uint8Array): void
}

// There is one for each device, so it is small.
export class NatsSubscription implements Subscription {
  readonly #engine: Responder
  readonly #all: Set<NatsSubscription>
  readonly #take: (message: Incoming) => void
  #own: OfNats | undefined

  constructor(engine: Responder, all: Set<NatsSubscription>, take: (message: Incoming) => void) {
    this.#engine = engine
    this.#all = all
    this.#take = take
    all.add(this)
  }

  begin(connection: NatsConnection, subject: string): void {
    this.#own = connection.subscribe(subject, { callback: (...news) => this.#hear(...news) })
  }

  unsubscribe(): void {
    this.#all.delete(this)
    this.#own?.unsubscribe()
  }

  #hear(error: Error | null, message: Msg): void {
    if (error) return log('subscription: %s', error.message)
    this.#take({
      payload: message.data,
      reply: (bytes) => {
        checkPayload(message.subject, bytes, this.#engine.maxPayload)
        if (message.reply) this.#engine.respond(message.reply, bytes)
      },
    })
  }
}
