/** Distinguishes requests, responses and batches. */

import type { Pump } from '../../src/messages/pump.ts'
import type { SendQueue } from '../../src/messages/send-queue.ts'
import type { Calls } from './calls.ts'
import type { Requests, Respond } from './requests.ts'
import { progressMethod } from './streamed.ts'
import { type Received, type Response, failed, failures } from './wire.ts'

/** The input of one connection. */
export class Batches {
  readonly #pump: Pump
  readonly #queue: SendQueue
  readonly #calls: Calls
  readonly #requests: Requests
  readonly #maxBatch: number

  constructor(pump: Pump, queue: SendQueue, calls: Calls, requests: Requests, maxBatch: number) {
    this.#pump = pump
    this.#queue = queue
    this.#calls = calls
    this.#requests = requests
    this.#maxBatch = maxBatch
  }

  /** Takes one message; returns a promise if a batch has to wait for room. */
  take(message: unknown): Promise<void> | undefined {
    if (Array.isArray(message)) return this.#batch(message)
    const received = asReceived(message)
    if (received.method === progressMethod && this.#calls.hasStream(received.params)) {
      this.#queue.skip()
      return this.#calls.progress(received.params)
    }
    if (this.#answers(message)) this.#queue.skip()
    else this.#requests.take(asReceived(message))
    return undefined
  }

  async #batch(members: readonly unknown[]): Promise<void> {
    const requests = members.filter((member) => !this.#answers(member))
    if (requests.length === 0 && members.length > 0) return
    if (members.length === 0 || requests.length > this.#maxBatch) {
      return this.#pump.send(failed(null, failures.invalidRequest))
    }
    const responses: Response[] = []
    let left = requests.length
    const respond: Respond = (response) => {
      if (response) responses.push(response)
      left -= 1
      return left === 0 && responses.length > 0 ? this.#requests.send(responses) : undefined
    }
    for (const request of requests) {
      this.#requests.take(asReceived(request), respond)
      await this.#pump.capacity()
    }
  }

  /** Takes a response to one of our calls. */
  #answers(message: unknown): boolean {
    const received = asReceived(message)
    if (received.method !== undefined && received.method !== null) return false
    // An error without an id: the peer could not parse one of our requests.
    if (received.id === null && received.error !== undefined) return true
    // Never answer a response, even an unknown one: two such peers would answer each other for
    // ever.
    return this.#calls.answer(received) || 'result' in received || 'error' in received
  }
}

const nothing: Received = Object.freeze({})

function asReceived(message: unknown): Received {
  return typeof message === 'object' && message !== null ? message : nothing
}
