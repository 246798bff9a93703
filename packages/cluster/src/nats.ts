/** `@cio/cluster/nats`: the engine over NATS. */

import { type NatsConnection, connect } from '@nats-io/transport-node'
import { setTimeout as delay } from 'node:timers/promises'
import debug from 'debug'
import { CioError } from 'cio'
import { checkDuration } from 'cio/kit'
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
import { EngineState } from './engine-base.ts'
import { requestError } from './nats/errors.ts'
import { type NatsOptions, checkNatsOptions } from './nats/options.ts'
import { NatsLetters } from './nats/letters.ts'
import { Requests } from './nats/requests.ts'
import { NatsSubscription } from './nats/subscription.ts'
import { NatsTable } from './nats/table.ts'

export type { NatsOptions } from './nats/options.ts'

const log = debug('cio:cluster')

const retryDelay = 500
const flushTimeout = 1_000

class NatsEngine extends EngineState implements Engine {
  readonly #options: NatsOptions
  readonly #prefix: string
  readonly #timeout: number
  #connection: NatsConnection | undefined
  #requests: Requests | undefined
  readonly #subscriptions = new Set<NatsSubscription>()
  /** Subscriptions that were made before the engine was open. */
  readonly #waiting = new Map<NatsSubscription, string>()
  readonly #stores = new Set<NatsTable | NatsLetters>()
  /** Counts connections, so that work for an earlier one ends. */
  #epoch = 0

  constructor(options: NatsOptions) {
    super()
    this.#options = options
    this.#prefix = options.prefix ?? 'cio'
    this.#timeout = options.timeout ?? 5_000
  }

  async open(signal: AbortSignal): Promise<void> {
    if (this.#connection) throw new CioError('ERR_CIO_OPTION', 'nats: the engine is open already')
    const connection = this.#options.connection ?? (await this.#dial(signal))
    signal.throwIfAborted()
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
    this.#epoch += 1
    for (const one of this.#subscriptions) one.unsubscribe()
    this.#stores.clear()
    const wasUp = this.isUp
    this.end()
    if (!connection || connection.isClosed()) return
    const flushed = wasUp ? connection.flush().catch(() => {}) : undefined
    const timer = new AbortController()
    await Promise.race([flushed, delay(flushTimeout, undefined, timer).catch(() => {})])
    timer.abort()
    if (!this.#options.connection) await connection.close()
  }

  publish(subject: string, payload: Uint8Array): void {
    this.checkMessage('publish', subject, payload)
    this.#connection!.publish(`${this.#prefix}.${subject}`, payload)
  }

  subscribe(subject: string, take: (message: Incoming) => void): Subscription {
    checkSubject(subject)
    const subscription = new NatsSubscription(this, this.#subscriptions, take)
    const whole = `${this.#prefix}.${subject}`
    if (this.#connection) subscription.begin(this.#connection, whole)
    else this.#waiting.set(subscription, whole)
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
    const { replicas = 1 } = this.#options
    const table = new NatsTable(this, this.#connection!, this.#requests!, {
      bucket: `${this.#prefix}_${name}`,
      ttl,
      replicas,
      timeout: this.#timeout,
      lost: () => this.#loseStore(),
    })
    await table.ensure()
    this.#stores.add(table)
    return table
  }

  async letters(name: string, options: LettersOptions): Promise<Letters> {
    checkSubject(name)
    this.checkUp('letters')
    const { replicas = 1 } = this.#options
    const [prefix, timeout] = [this.#prefix, this.#timeout]
    const letters = new NatsLetters(this, this.#connection!, this.#requests!, {
      ...options,
      prefix,
      name,
      replicas,
      timeout,
    })
    await letters.ensure()
    this.#stores.add(letters)
    return letters
  }

  /**
   * nats.js cannot be stopped while it waits for its first connection, so Cio makes one attempt at
   * a time.
   */
  async #dial(signal: AbortSignal): Promise<NatsConnection> {
    for (;;) {
      signal.throwIfAborted()
      try {
        const connection = await connect({
          maxReconnectAttempts: -1,
          pingInterval: 5_000,
          maxPingOut: 2,
          timeout: 5_000,
          // Otherwise nats.js creates two errors with a stack for each request, in case it fails.
          noAsyncTraces: true,
          ...this.#options.connect,
        })
        if (!signal.aborted) return connection
        await connection.close()
      } catch (error) {
        log('no connection: %s', (error as Error).message)
        await delay(retryDelay, undefined, { signal })
      }
    }
  }

  /** Every reconnect is a gap: nats.js drops messages of an outage without an error. */
  async #follow(connection: NatsConnection): Promise<void> {
    for await (const { type } of connection.status()) {
      if (this.#connection !== connection) return
      if (type === 'disconnect' || type === 'staleConnection') {
        this.#epoch += 1
        this.setDown()
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
        for (const store of this.#stores) await store.ensure()
        // The broker has the subscriptions again.
        await this.#connection?.flush()
        if (isCurrent()) this.setUp()
        return
      } catch (error) {
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
