/** Sends to the broker. nats.js queues without a bound, and a broker may be slow or hang. */

import type { NatsConnection, PublishOptions } from '@nats-io/transport-node'
import { downError } from '../engine.ts'

/** Bytes that may wait for the broker. */
const mostUnread = 67_108_864
/** Bytes after which the broker is asked whether it has read them. */
const askAfter = 1_048_576

export class Sender {
  readonly #connection: NatsConnection
  /** Bytes that the broker has not confirmed. */
  #unread = 0
  #isAsking = false

  constructor(connection: NatsConnection) {
    this.#connection = connection
  }

  get isFull(): boolean {
    return this.#unread > mostUnread
  }

  /** @throws `ERR_CIO_CLUSTER_DOWN`: the connection has ended, or the broker does not keep up */
  publish(subject: string, payload: Uint8Array | undefined, options?: PublishOptions): void {
    if (this.isFull) {
      const message = `the broker does not keep up: ${this.#unread} bytes wait for it`
      throw downError('publish', new Error(message))
    }
    try {
      this.#connection.publish(subject, payload, options)
    } catch (error) {
      // The application drains or closes its connection.
      throw downError('publish', error)
    }
    this.#unread += subject.length + (payload?.byteLength ?? 0)
    if (this.#unread >= askAfter && !this.#isAsking) void this.#ask()
  }

  async #ask(): Promise<void> {
    this.#isAsking = true
    while (this.#unread >= askAfter) {
      const asked = this.#unread
      // It rejects in an outage: nats.js has dropped what waited.
      await this.#connection.flush().catch(() => {})
      this.#unread -= asked
    }
    this.#isAsking = false
  }
}
