/** A table in NATS: a KV bucket in a file, with one revision of each key. */

import { DeliverPolicy, type JetStreamClient, type JsMsg, jetstream } from '@nats-io/jetstream'
import { type KV, Kvm } from '@nats-io/kv'
import type { NatsConnection } from '@nats-io/transport-node'
import debug from 'debug'
import { type Row, type Table, type WatchOptions, checkPayload, checkSubject } from '../engine.ts'
import type { EngineState } from '../engine-base.ts'
import { tableError } from './errors.ts'

const log = debug('cio:cluster')

/** How a bucket is made. */
export interface Bucket {
  readonly bucket: string
  readonly ttl: number
  readonly replicas: number
  readonly timeout: number
}

export class NatsTable implements Table {
  readonly #engine: EngineState
  readonly #options: Bucket
  readonly #connection: NatsConnection
  readonly #client: JetStreamClient
  #kv: KV | undefined

  constructor(engine: EngineState, connection: NatsConnection, options: Bucket) {
    this.#engine = engine
    this.#options = options
    this.#connection = connection
    this.#client = jetstream(connection, { timeout: options.timeout })
  }

  /** Makes the bucket if there is none. */
  async ensure(): Promise<void> {
    const { bucket, ttl, replicas, timeout } = this.#options
    const kvm = new Kvm(this.#connection)
    // Not in memory: such a bucket is gone after a restart, and its watches stay silent.
    // 0 stands for rows that stay.
    const maxAge = ttl === Infinity ? 0 : ttl
    const made = kvm.create(bucket, { history: 1, ttl: maxAge, replicas, timeout })
    try {
      this.#kv = await made
    } catch (error) {
      throw tableError(bucket, error)
    }
  }

  async get(key: string): Promise<Row | undefined> {
    const entry = await this.#ask(key, (kv) => kv.get(key))
    if (!entry) return undefined
    const { revision, operation } = entry
    // The revision of a deleted row, so that `replace()` need not ask for it.
    return { key, value: operation === 'PUT' ? entry.value : null, revision }
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    checkPayload(key, value)
    return this.#ask(key, (kv) => kv.put(key, value))
  }

  async replace(key: string, value: Uint8Array, revision: number): Promise<number> {
    checkPayload(key, value)
    // Not `kv.create()`: it reads the row again if there is one.
    return this.#ask(key, (kv) => kv.put(key, value, { previousSeq: revision }))
  }

  async delete(key: string, revision?: number): Promise<void> {
    const options = revision === undefined ? undefined : { previousSeq: revision }
    await this.#ask(key, (kv) => kv.delete(key, options))
  }

  async watch(take: (row: Row) => void, { snapshot = false, signal }: WatchOptions): Promise<void> {
    if (signal.aborted) return
    const { bucket } = this.#options
    const prefix = `$KV.${bucket}.`
    let whole = (): void => {}
    const snapshotEnded = new Promise<void>((resolve) => (whole = resolve))
    let left = 0
    // A callback, since the iterator of nats.js queues without a bound.
    const callback = (message: JsMsg): void => {
      const { subject, seq, headers, data } = message
      const isDeleted = (headers?.get('KV-Operation') ?? '') !== ''
      take({ key: subject.slice(prefix.length), value: isDeleted ? null : data, revision: seq })
      if (left > 0 && (--left === 0 || message.info.pending === 0)) {
        left = 0
        whole()
      }
    }
    const begin = async (): Promise<() => void> => {
      const consumer = await this.#client.consumers.getPushConsumer(`KV_${bucket}`, {
        deliver_policy: snapshot ? DeliverPolicy.LastPerSubject : DeliverPolicy.New,
        filter_subjects: `${prefix}>`,
      })
      const { num_pending: pending } = await consumer.info(true)
      left = snapshot ? pending : 0
      if (left === 0) whole()
      const messages = await consumer.consume({ callback })
      return () => {
        messages.stop()
        // Else the broker keeps it for five minutes.
        if (this.#engine.isUp) consumer.delete().catch(() => {})
      }
    }
    this.#engine.checkUp('watch')
    const begun = begin()
    try {
      const mapError = (error: unknown): Error => tableError(bucket, error)
      const stop = await this.#engine.wait('watch', begun, signal, mapError)
      this.#engine.untilOver(signal, stop)
    } catch (error) {
      // It may begin after the wait for it is over.
      begun.then(
        (stop) => stop(),
        () => {},
      )
      if (signal.aborted) return
      throw error
    }
    await this.#engine.wait('watch', snapshotEnded, signal).catch((error: unknown) => {
      if (!signal.aborted) throw error
    })
    log('watches %s', bucket)
  }

  #ask<Value>(key: string, work: (kv: KV) => Promise<Value>): Promise<Value> {
    try {
      checkSubject(key)
      this.#engine.checkUp('table')
      const answer = work(this.#kv!)
      return this.#engine.wait('table', answer, undefined, (error) => tableError(key, error))
    } catch (error) {
      return Promise.reject(error)
    }
  }
}
