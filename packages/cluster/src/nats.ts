/** `@cio/cluster/nats`: the engine over NATS. */

import type { NatsConnection } from '@nats-io/transport-node'
import { setTimeout as delay } from 'node:timers/promises'
import { CioError } from 'cio'
import { asError, checkDuration, debug } from 'cio/kit'
import {
  type Engine,
  type Incoming,
  type Letters,
  type LettersOptions,
  type RequestOptions,
  type Subscription,
  type Table,
  type TableOptions,
  checkSubject,
  headerRoom,
  maxPayload,
} from './engine.ts'
import { atMost } from './at-most.ts'
import { EngineState } from './engine-base.ts'
import { abandon, dial, retryDelay } from './nats/dial.ts'
import { requestError } from './nats/errors.ts'
import { Numbers } from './nats/numbers.ts'
import { type NatsOptions, checkNatsOptions } from './nats/options.ts'
import { NatsLetters } from './nats/letters.ts'
import { Requests } from './nats/requests.ts'
import { NatsSubscription, type Responder } from './nats/subscription.ts'
import { NatsTable } from './nats/table.ts'

export type { NatsOptions } from './nats/options.ts'

const log = debug('cio:cluster')

/** A server that is destroyed has a second for all of its end. */
const flushTimeout = 500

class NatsEngine extends EngineState implements Engine, Responder {
  readonly #options: NatsOptions
  readonly #prefix: string
  readonly #storing: { readonly replicas: number; readonly timeout: number }
  #connection: NatsConnection | undefined
  #requests: Requests | undefined
  readonly #subscriptions = new Set<NatsSubscription>()
  /** Subscriptions that were made before the engine was open. */
  readonly #waiting = new Map<NatsSubscription, string>()
  /** The last table or letters of each name, to be made again if the broker has lost them. */
  readonly #stores = new Map<string, NatsTable | NatsLetters>()
  /** The events of the connection. */
  #status: { readonly stop?: () => void } | undefined
  /** Counts connections, so that work for an earlier one ends. */
  #epoch = 0

  constructor(options: NatsOptions) {
    super()
    this.#options = options
    this.#prefix = options.prefix ?? 'cio'
    this.#storing = { replicas: options.replicas ?? 1, timeout: options.timeout ?? 5_000 }
  }

  async open(signal: AbortSignal): Promise<void> {
    if (this.#connection) throw new CioError('ERR_CIO_OPTION', 'nats: the engine is open already')
    signal.throwIfAborted()
    const epoch = this.#epoch
    const { connection, connect } = this.#options
    const opened = connection ?? (await dial(this, connect, signal, () => epoch !== this.#epoch))
    try {
      await this.#begin(opened, signal)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async #begin(connection: NatsConnection, signal: AbortSignal): Promise<void> {
    this.begin()
    this.#connection = connection
    this.#requests = new Requests(this, connection)
    void this.#follow(connection)
    for (const [subscription, subject] of this.#waiting) {
      // It may have ended before the engine was open.
      if (this.#subscriptions.has(subscription)) subscription.begin(connection, subject)
    }
    this.#waiting.clear()
    // A connection that was passed in may be down at the moment.
    if (this.#options.connection) await this.wait('open', connection.flush(), signal)
    this.setUp()
  }

  override setUp(): void {
    // As the bound of Cio does, it leaves room for headers.
    const most = (this.#connection?.info?.max_payload ?? Infinity) - headerRoom
    this.maxPayload = Math.min(maxPayload, most)
    super.setUp()
  }

  async close(): Promise<void> {
    const connection = this.#connection
    this.#connection = undefined
    this.#requests?.end()
    this.#status?.stop?.()
    this.#epoch += 1
    for (const one of this.#subscriptions) one.unsubscribe()
    this.#stores.clear()
    const wasUp = this.isUp
    this.end()
    if (!connection || connection.isClosed()) return
    if (wasUp) {
      const flushed = connection.flush().catch(() => {})
      await atMost(flushTimeout, flushed)
    }
    if (!this.#options.connection) await connection.close()
  }

  publish(subject: string, payload: Uint8Array): void {
    this.checkMessage('publish', subject, payload)
    this.#requests!.sender.publish(`${this.#prefix}.${subject}`, payload)
  }

  respond(subject: string, payload: Uint8Array): void {
    // nats.js keeps it, and loses it in an outage, like a message on its way.
    const { sender } = this.#requests!
    if (this.isUp && !sender.isFull) sender.publish(subject, payload)
  }

  subscribe(subject: string, take: (message: Incoming) => void): Subscription {
    checkSubject(subject)
    const subscription = new NatsSubscription(this, this.#subscriptions, take)
    const whole = `${this.#prefix}.${subject}`
    const connection = this.#connection
    if (!connection) this.#waiting.set(subscription, whole)
    // Otherwise the application has ended its connection, and nothing will arrive any more.
    else if (!connection.isClosed() && !connection.isDraining()) {
      subscription.begin(connection, whole)
    }
    return subscription
  }

  async request(
    subject: string,
    payload: Uint8Array,
    { timeout, signal }: RequestOptions,
  ): Promise<Uint8Array> {
    checkDuration('request', 'timeout', timeout)
    this.checkMessage('request', subject, payload)
    const mapError = (error: unknown): Error => requestError(subject, timeout, error)
    const asking = { timeout, signal, mapError }
    const { data } = await this.#requests!.ask(`${this.#prefix}.${subject}`, payload, asking)
    return data
  }

  async table(name: string, { ttl }: TableOptions): Promise<Table> {
    this.checkTable(name, ttl)
    const bucket = `${this.#prefix}_${name}`
    const table = new NatsTable(this, this.#connection!, this.#requests!, {
      bucket,
      ttl,
      ...this.#storing,
      lost: () => this.#loseStore(),
      numbers: this.#numbersOf(bucket),
    })
    await table.ensure()
    this.#stores.set(bucket, table)
    return table
  }

  async letters(name: string, options: LettersOptions): Promise<Letters> {
    checkSubject(name)
    this.checkUp('letters')
    const stream = `${this.#prefix}_letters_${name}`
    const letters = new NatsLetters(this, this.#connection!, this.#requests!, {
      ...options,
      ...this.#storing,
      stream,
      subject: `${this.#prefix}_letters.${name}`,
      numbers: this.#numbersOf(stream),
    })
    await letters.ensure()
    this.#stores.set(stream, letters)
    return letters
  }

  /** All that were opened with one name have the same numbers. */
  #numbersOf(store: string): Numbers {
    return this.#stores.get(store)?.numbers ?? new Numbers()
  }

  /** Every reconnect is a gap: nats.js drops messages of an outage without an error. */
  async #follow(connection: NatsConnection): Promise<void> {
    const status = connection.status()
    this.#status = status as AsyncIterable<unknown> & { readonly stop?: () => void }
    for await (const one of status) {
      const { type } = one
      if (this.#connection !== connection) return
      if (type === 'error' && !this.isUp) this.downCause = one.error
      if (type === 'disconnect' || type === 'staleConnection') {
        this.#epoch += 1
        this.setDown()
        if (type === 'staleConnection') abandon(connection)
      } else if (type === 'reconnect') void this.#restore()
      else if (type === 'close') this.setDown()
    }
  }

  /** An operator has deleted a table: changes are missed until it is there again, as in an outage. */
  #loseStore(): void {
    if (!this.isUp) return
    this.setDown()
    void this.#restore()
  }

  /** Makes tables and letters again if the broker has lost them, so that `up` means that they can be used. */
  async #restore(): Promise<void> {
    const epoch = ++this.#epoch
    const isCurrent = (): boolean => epoch === this.#epoch && this.#connection !== undefined
    for (;;) {
      try {
        for (const store of this.#stores.values()) await store.ensure()
        // The broker has the subscriptions again.
        await this.#connection?.flush()
        if (isCurrent()) this.setUp()
        return
      } catch (error) {
        if (isCurrent()) this.downCause = asError(error)
        log('stores: %s', (error as Error).message)
        await delay(retryDelay, undefined, { ref: false })
        if (!isCurrent()) return
      }
    }
  }
}

/**
 * An engine over NATS with JetStream (`nats-server` from 2.9 on).
 *
 * It is strict: without a connection it rejects at once and keeps nothing for later, and after each
 * reconnect it emits `up`, because messages may be lost. Tables are buckets of NATS KV in files.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range; `connection` gives up
 *   reconnecting
 *
 * @example
 * import { cluster } from '@cio/cluster'
 * import { nats } from '@cio/cluster/nats'
 *
 * const engine = nats({ connect: { servers: ['nats-1:4222', 'nats-2:4222'] }, replicas: 3 })
 * const here = cluster({ engine })
 */
export function nats(options: NatsOptions = {}): Engine {
  checkNatsOptions(options)
  return new NatsEngine(options)
}
