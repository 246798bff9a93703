/**
 * Requests over one subscription. Those of nats.js make an error with a stack and a promise for each
 * that succeeds, which is two thirds of what a request costs.
 */

import { JetStreamApiError } from '@nats-io/jetstream'
import {
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  type Subscription,
  createInbox,
  errors,
} from '@nats-io/transport-node'
import { maxTimerDelay } from 'cio/kit'
import { downError } from '../engine.ts'
import type { EngineState, Interrupt } from '../engine-base.ts'
import { Sender } from './sender.ts'

/** How a request is made. */
export interface Asking {
  readonly timeout: number
  readonly signal?: AbortSignal | undefined
  readonly headers?: MsgHdrs | undefined
  /** The error of nats.js in the words of the contract. */
  readonly mapError: (error: unknown) => Error
}

/** The answer of JetStream to a message that it has stored. */
export interface Stored {
  readonly seq: number
  readonly duplicate?: boolean
}

const noResponder = 503

export class Requests {
  readonly #engine: EngineState
  readonly sender: Sender
  readonly #inbox: string
  readonly #subscription: Subscription
  readonly #pending = new Map<string, (answer: Msg) => void>()
  #last = 0

  constructor(engine: EngineState, connection: NatsConnection) {
    this.#engine = engine
    this.sender = new Sender(connection)
    // Not in the types of nats.js: permissions may allow one prefix alone.
    const { options } = connection as { readonly options?: { readonly inboxPrefix?: string } }
    this.#inbox = `${createInbox(options?.inboxPrefix)}.`
    this.#subscription = connection.subscribe(`${this.#inbox}*`, {
      callback: (error, answer) => {
        // Without the permission there is no answer, and nothing that is thrown here may reach nats.js.
        if (!error) this.#pending.get(answer.subject.slice(this.#inbox.length))?.(answer)
      },
    })
  }

  /** Fulfils with the first answer; rejects when the engine goes down. */
  ask(subject: string, payload: Uint8Array | undefined, asking: Asking): Promise<Msg> {
    const { timeout, signal, headers, mapError } = asking
    return new Promise<Msg>((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error)
      const id = String(++this.#last)
      const finish = (): void => {
        this.#pending.delete(id)
        this.#engine.waits.delete(interrupt)
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
      }
      const fail = (error: Error): void => {
        finish()
        reject(error)
      }
      const abort = (): void => fail(signal!.reason as Error)
      const interrupt: Interrupt = (cause) => fail(downError('request', cause))
      const late = (): void => fail(mapError(new errors.TimeoutError()))
      const timer = setTimeout(late, Math.min(timeout, maxTimerDelay))
      this.#engine.waits.add(interrupt)
      signal?.addEventListener('abort', abort)
      this.#pending.set(id, (answer) => {
        const isUnheard = answer.data.length === 0 && answer.headers?.code === noResponder
        if (isUnheard) return fail(mapError(new errors.NoRespondersError(subject)))
        finish()
        resolve(answer)
      })
      try {
        const reply = this.#inbox + id
        this.sender.publish(subject, payload, { reply, ...(headers && { headers }) })
      } catch (error) {
        fail(error as Error)
      }
    })
  }

  /** Has JetStream store a message. */
  async store(subject: string, payload: Uint8Array | undefined, asking: Asking): Promise<Stored> {
    const answer = (await this.ask(subject, payload, asking)).json<
      Stored & { readonly error?: ConstructorParameters<typeof JetStreamApiError>[0] }
    >()
    if (answer.error) throw asking.mapError(new JetStreamApiError(answer.error))
    return answer
  }

  end(): void {
    this.#subscription.unsubscribe()
  }
}
