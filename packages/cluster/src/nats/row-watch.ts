/** A watch of a bucket. If the broker that serves it dies, it continues where it was. */

import {
  type ConsumerMessages,
  DeliverPolicy,
  type JetStreamClient,
  type JsMsg,
  type OrderedPushConsumerOptions,
  type PushConsumer,
} from '@nats-io/jetstream'
import type { MsgHdrs } from '@nats-io/transport-node'
import { debug } from 'cio/kit'
import type { Row } from '../engine.ts'
import { isStoreLost } from './errors.ts'

const log = debug('cio:cluster')

/** The header of a deletion, as all libraries of NATS write it. */
export const operation = 'KV-Operation'

export function isDeleted(headers: MsgHdrs | undefined): boolean {
  return (headers?.get(operation) ?? '') !== ''
}

/** The bucket that is watched. */
export interface Watched {
  readonly client: JetStreamClient
  readonly bucket: string
  /** Whether the broker can be asked. */
  readonly isUp: () => boolean
  /** The bucket is gone. */
  readonly lost: () => void
}

/** Milliseconds between two checks of a watch. */
const checkInterval = 2_000

export class RowWatch {
  readonly #watched: Watched
  readonly #prefix: string
  readonly #take: (row: Row) => void
  /** Fulfils when the snapshot, if any, was passed on. */
  readonly whole: Promise<void>
  #isWhole = (): void => {}
  #consumer: PushConsumer | undefined
  #messages: ConsumerMessages | undefined
  /** The revision of the last row. */
  #last = 0
  /** Rows of the snapshot that have not arrived. */
  #left = 0
  #isOver = false
  #isChecking = false
  #checks: NodeJS.Timeout | undefined

  constructor(watched: Watched, take: (row: Row) => void) {
    this.#watched = watched
    this.#prefix = `$KV.${watched.bucket}.`
    this.#take = take
    this.whole = new Promise((resolve) => (this.#isWhole = resolve))
  }

  async begin(snapshot: boolean): Promise<void> {
    const policy = snapshot ? DeliverPolicy.LastPerSubject : DeliverPolicy.New
    await this.#open({ deliver_policy: policy }, !snapshot)
    if (!this.#isOver) this.#checks = setInterval(() => void this.check(), checkInterval).unref()
  }

  /**
   * Asks whether the consumer is there, and makes another if not, and whether rows are left. In a cluster of brokers a
   * consumer is on one of them, and ends with it. nats.js notices that only after a minute and a
   * half.
   */
  async check(): Promise<void> {
    if (this.#isChecking || this.#isOver) return
    this.#isChecking = true
    try {
      const info = await this.#consumer?.info().catch(async (error: Error) => {
        log('the watch of %s is made again: %s', this.#watched.bucket, error.message)
        this.#messages?.stop()
        if (!this.#isOver) await this.#open({ opt_start_seq: this.#last + 1 }, false)
      })
      // Rows of the snapshot may expire before the broker sends them. It answers after the rows that it
      // has sent.
      if (info?.num_pending === 0) this.#end()
    } catch (error) {
      log('the watch of %s: %s', this.#watched.bucket, (error as Error).message)
      if (isStoreLost(error)) this.#watched.lost()
    } finally {
      this.#isChecking = false
    }
  }

  /** Ends the watch. A broker that cannot be asked to drop the consumer keeps it for five minutes. */
  end(): void {
    this.#isOver = true
    clearInterval(this.#checks)
    this.#messages?.stop()
    this.#drop(this.#consumer)
  }

  #drop(consumer: PushConsumer | undefined): void {
    if (this.#watched.isUp()) consumer?.delete().catch(() => {})
  }

  async #open(from: Partial<OrderedPushConsumerOptions>, isNew: boolean): Promise<void> {
    const { client, bucket, isUp } = this.#watched
    const consumer = await client.consumers.getPushConsumer(`KV_${bucket}`, {
      ...from,
      filter_subjects: `${this.#prefix}>`,
    })
    const { num_pending: pending, delivered } = await consumer.info(true)
    if (isNew) this.#last = delivered.stream_seq
    this.#left = isNew ? 0 : pending
    if (this.#left === 0) this.#isWhole()
    // Over a connection that is closed meanwhile, nats.js starts a timer that nothing can stop, and the process
    // would never end.
    if (this.#isOver) return this.#drop(consumer)
    if (!isUp()) throw new Error('the connection was closed')
    this.#consumer = consumer
    this.#messages = await consumer.consume({ callback: (message) => this.#hear(message) })
    if (this.#isOver) this.#messages.stop()
  }

  // By a callback, since the iterator of nats.js queues without a bound.
  #hear(message: JsMsg): void {
    const { subject, seq, headers, data } = message
    // Another consumer may have passed it on.
    if (seq > this.#last) {
      this.#last = seq
      const key = subject.slice(this.#prefix.length)
      this.#take({ key, value: isDeleted(headers) ? null : data, revision: seq })
    }
    if (this.#left > 0 && (--this.#left === 0 || message.info.pending === 0)) this.#end()
  }

  /** The snapshot is whole. */
  #end(): void {
    this.#left = 0
    this.#isWhole()
  }
}
