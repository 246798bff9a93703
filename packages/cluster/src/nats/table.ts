/** A table in NATS: a KV bucket in a file, with one revision of each key. */

import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { type NatsConnection, headers, nanos } from '@nats-io/transport-node'
import { debug } from 'cio/kit'
import {
  type Row,
  type Table,
  type WatchOptions,
  checkPayload,
  checkSubject,
  staleError,
} from '../engine.ts'
import type { EngineState } from '../engine-base.ts'
import { storeError, tableError } from './errors.ts'
import type { Numbers } from './numbers.ts'
import type { Asking, Requests } from './requests.ts'
import { RowWatch, isDeleted, operation } from './row-watch.ts'

const log = debug('cio:cluster')

const notFound = 404

/** The settings of a bucket. */
export interface Bucket {
  readonly bucket: string
  readonly ttl: number
  readonly replicas: number
  readonly timeout: number
  /** The broker has deleted the bucket. */
  readonly lost: () => void
  readonly numbers: Numbers
}

export class NatsTable implements Table {
  readonly #engine: EngineState
  readonly #options: Bucket
  readonly #connection: NatsConnection
  readonly #requests: Requests
  readonly #client: JetStreamClient
  readonly numbers: Numbers

  constructor(
    engine: EngineState,
    connection: NatsConnection,
    requests: Requests,
    options: Bucket,
  ) {
    this.#engine = engine
    this.#options = options
    this.numbers = options.numbers
    this.#connection = connection
    this.#requests = requests
    this.#client = jetstream(connection, { timeout: options.timeout })
  }

  /** Makes the bucket if there is none. */
  async ensure(): Promise<void> {
    const { bucket, ttl, replicas, timeout } = this.#options
    const kvm = new Kvm(this.#connection)
    // 0 means that rows never expire.
    const maxAge = ttl === Infinity ? 0 : ttl
    try {
      // Not in memory: such a bucket disappears with a restart, and its watches stay silent.
      await kvm.create(bucket, { history: 1, ttl: maxAge, replicas, timeout })
      await this.#keepFor(nanos(maxAge))
    } catch (error) {
      throw storeError(bucket, error)
    }
  }

  /** Instances of another release may have made the bucket for a shorter time, and not for a longer one. */
  async #keepFor(maxAge: number): Promise<void> {
    const { bucket, timeout } = this.#options
    const { streams } = await jetstreamManager(this.#connection, { timeout, checkAPI: false })
    const info = await streams.info(`KV_${bucket}`)
    this.numbers.begin(info)
    const { max_age: now } = info.config
    const isShorter = now !== 0 && (maxAge === 0 || now < maxAge)
    if (isShorter) await streams.update(`KV_${bucket}`, { max_age: maxAge })
  }

  async get(key: string): Promise<Row | undefined> {
    const { bucket } = this.#options
    const subject = `$JS.API.DIRECT.GET.KV_${bucket}.${this.#subject(key)}`
    const { headers: known, data } = await this.#requests.ask(subject, undefined, this.#asking(key))
    if (known?.code === notFound) return undefined
    const seq = Number(known?.get('Nats-Sequence'))
    if (!(seq > 0)) throw tableError(key, new Error(`an answer of ${known?.description}`))
    // The revision of a deleted row, so that `replace()` need not ask for it.
    return { key, value: isDeleted(known) ? null : data, revision: this.numbers.of(seq) }
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    checkPayload(key, value, this.#engine.maxPayload)
    return this.#store(key, value)
  }

  async replace(key: string, value: Uint8Array, revision: number): Promise<number> {
    checkPayload(key, value, this.#engine.maxPayload)
    return this.#store(key, value, revision)
  }

  async delete(key: string, revision?: number): Promise<void> {
    await this.#store(key, undefined, revision)
  }

  async watch(take: (row: Row) => void, { snapshot = false, signal }: WatchOptions): Promise<void> {
    if (signal.aborted) return
    const { bucket } = this.#options
    this.#engine.checkUp('watch')
    const hear = (row: Row): void => take({ ...row, revision: this.numbers.of(row.revision) })
    const isUp = (): boolean =>
      this.#engine.isUp && !this.#connection.isClosed() && !this.#connection.isDraining()
    const { lost } = this.#options
    const watch = new RowWatch({ client: this.#client, bucket, isUp, lost }, hear)
    // From the beginning on, since the engine may be closed at any step of it.
    const end = this.#engine.untilOver(signal, () => watch.end())
    try {
      const mapError = (error: unknown): Error => tableError(bucket, error)
      await this.#engine.wait('watch', watch.begin(snapshot), signal, mapError)
    } catch (error) {
      end()
      if (signal.aborted) return
      throw error
    }
    await this.#engine.wait('watch', watch.whole, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
    log('watches %s', bucket)
  }

  async #store(key: string, value: Uint8Array | undefined, over?: number): Promise<number> {
    const asking = this.#asking(key)
    const known = headers()
    if (!value) known.set(operation, 'DEL')
    if (over !== undefined) {
      const seq = over === 0 ? 0 : this.numbers.within(over)
      // It is of a bucket of before.
      if (seq < 0) throw staleError(key)
      known.set('Nats-Expected-Last-Subject-Sequence', String(seq))
    }
    const stored = this.#requests.store(this.#subject(key), value, { ...asking, headers: known })
    return this.numbers.of((await stored).seq)
  }

  #asking(key: string): Asking {
    checkSubject(key)
    this.#engine.checkUp('table')
    return { timeout: this.#options.timeout, mapError: (error) => tableError(key, error) }
  }

  #subject(key: string): string {
    return `$KV.${this.#options.bucket}.${key}`
  }
}
