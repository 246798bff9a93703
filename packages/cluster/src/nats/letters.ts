/** Letters in NATS: a stream in a file, with a subject for each receiver, and no consumers. */

import {
  DiscardPolicy,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  jetstreamManager,
} from '@nats-io/jetstream'
import { type NatsConnection, headers, nanos } from '@nats-io/transport-node'
import {
  type Appended,
  type Letter,
  type Letters,
  type LettersOptions,
  checkPayload,
  checkSubject,
  duplicateWindow,
  fullError,
} from '../engine.ts'
import type { EngineState } from '../engine-base.ts'
import { brokerError, isApiError, isUnheard, storeError } from './errors.ts'
import type { Numbers } from './numbers.ts'
import type { Requests, Stored } from './requests.ts'

const nameInUse = 10_058
const storeFailed = 10_077
const deleteFailed = 10_057
const noSequence = 10_043

/** The settings of a stream. */
export interface Stream extends LettersOptions {
  /** Its name. */
  readonly stream: string
  readonly subject: string
  readonly replicas: number
  readonly timeout: number
  readonly numbers: Numbers
}

export class NatsLetters implements Letters {
  readonly #engine: EngineState
  readonly #options: Stream
  readonly #connection: NatsConnection
  readonly #requests: Requests
  readonly #stream: string
  readonly #subject: string
  readonly numbers: Numbers
  #manager: JetStreamManager | undefined

  constructor(
    engine: EngineState,
    connection: NatsConnection,
    requests: Requests,
    options: Stream,
  ) {
    this.#engine = engine
    this.#options = options
    this.#connection = connection
    this.#requests = requests
    this.#stream = options.stream
    this.#subject = options.subject
    this.numbers = options.numbers
  }

  /** Makes the stream if there is none, or gives it these bounds. */
  async ensure(): Promise<void> {
    const { maxPerKey, maxBytes, maxAge, replicas, timeout } = this.#options
    const config = {
      name: this.#stream,
      subjects: [`${this.#subject}.*`],
      retention: RetentionPolicy.Limits,
      storage: StorageType.File,
      // A full mailbox refuses a new letter, and keeps its letters.
      discard: DiscardPolicy.New,
      discard_new_per_subject: true,
      max_msgs_per_subject: maxPerKey,
      max_bytes: maxBytes,
      max_age: nanos(maxAge),
      duplicate_window: nanos(Math.min(duplicateWindow, maxAge)),
      allow_direct: true,
      num_replicas: replicas,
    }
    try {
      const manager = await jetstreamManager(this.#connection, { timeout, checkAPI: false })
      const info = await manager.streams.add(config).catch((error: unknown) => {
        if (!isApiError(error, nameInUse)) throw error
        return manager.streams.update(this.#stream, config)
      })
      this.numbers.begin(info)
      this.#manager = manager
    } catch (error) {
      throw storeError('letters', error)
    }
  }

  async append(key: string, payload: Uint8Array, id: string): Promise<Appended> {
    checkPayload(key, payload, this.#engine.maxPayload)
    checkSubject(id)
    const known = headers()
    known.set('Nats-Msg-Id', `${key}.${id}`)
    const asking = {
      timeout: this.#options.timeout,
      headers: known,
      mapError: (error: unknown) => error as Error,
    }
    const store = (): Promise<Stored> =>
      this.#requests.store(`${this.#subject}.${key}`, payload, asking)
    return this.#ask(key, async () => {
      const { seq, duplicate = false } = await store().catch(async (error: unknown) => {
        if (!isUnheard(error)) throw error
        // An operator has deleted the stream, or its brokers choose a leader.
        await this.ensure()
        return store()
      })
      return { seq: this.numbers.of(seq), isDuplicate: duplicate }
    })
  }

  async next(key: string, after: number): Promise<Letter | undefined> {
    // After a letter of a stream of before, from the first on.
    const seq = Math.max(0, this.numbers.within(after)) + 1
    const query = { seq, next_by_subj: `${this.#subject}.${key}` }
    const found = await this.#ask(key, () => this.#manager!.direct.getMessage(this.#stream, query))
    return found ? { seq: this.numbers.of(found.seq), payload: found.data } : undefined
  }

  async remove(key: string, number: number): Promise<void> {
    const seq = this.numbers.within(number)
    // The stream of this letter is gone.
    if (seq <= 0) return
    await this.#ask(key, async () => {
      try {
        // The broker need not overwrite the bytes first: letters are not secret on its own disk.
        await this.#manager!.streams.deleteMessage(this.#stream, seq, false)
      } catch (error) {
        const isGone =
          isApiError(error, noSequence) ||
          (isApiError(error, deleteFailed) && /no message found/.test(error.message))
        if (!isGone) throw error
      }
    })
  }

  async #ask<Value>(key: string, work: () => Promise<Value>): Promise<Value> {
    checkSubject(key)
    this.#engine.checkUp('letters')
    return this.#engine.wait('letters', work(), undefined, (error) => {
      const isFull = isApiError(error, storeFailed) && /maximum/.test(error.message)
      return isFull ? fullError(key, error) : brokerError('letters', error)
    })
  }
}
