/** The engine of one process: for an application that runs once, and for tests. */

import { checkDuration } from 'cio/kit'
import { CioError } from 'cio'
import {
  type Engine,
  type Incoming,
  type Letters,
  type LettersOptions,
  type RequestOptions,
  type Subscription,
  type Table,
  type TableOptions,
  checkPayload,
  checkSubject,
  noResponderError,
  requestTimeoutError,
} from './engine.ts'
import { EngineState } from './engine-base.ts'
import { LetterStore, MemoryLetters } from './memory/letters.ts'
import { MemoryTable, Rows } from './memory/rows.ts'

/** Connects the engines of one process, as a broker does for those of many. */
export interface MemoryHub {
  /** Cuts engines off from the hub: each emits `down`, and no message passes. */
  cut(...engines: Engine[]): void
  /** Connects all engines that were cut off: each emits `up`, with the length of the gap. */
  heal(): void
}

/** A hub with its subjects, tables and letters. */
class Hub implements MemoryHub {
  readonly subjects = new Map<string, Set<Subscriber>>()
  readonly tables = new Map<string, Rows>()
  readonly letters = new Map<string, LetterStore>()
  readonly #cut = new Set<MemoryEngine>()

  cut(...engines: Engine[]): void {
    for (const engine of engines) {
      if (!(engine instanceof MemoryEngine) || engine.hub !== this) {
        throw new CioError('ERR_CIO_OPTION', 'hub.cut: expected engines made by `memory(hub)`')
      }
      this.#cut.add(engine)
      engine.setDown()
    }
  }

  heal(): void {
    const engines = [...this.#cut]
    this.#cut.clear()
    for (const engine of engines) if (engine.isOpen) engine.setUp()
  }

  isCut(engine: MemoryEngine): boolean {
    return this.#cut.has(engine)
  }
}

interface Subscriber {
  readonly engine: MemoryEngine
  readonly take: (message: Incoming) => void
}

class MemoryEngine extends EngineState implements Engine {
  readonly hub: Hub
  isOpen = false
  readonly #subscriptions = new Set<Subscription>()

  constructor(hub: Hub) {
    super()
    this.hub = hub
  }

  async open(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.isOpen) throw new CioError('ERR_CIO_OPTION', 'memory: the engine is open already')
    this.begin()
    this.isOpen = true
    if (!this.hub.isCut(this)) return this.setUp()
    const connected = new Promise<void>((resolve) => (this.connected = resolve))
    try {
      await this.wait('open', connected, signal)
    } catch (error) {
      this.isOpen = false
      throw error
    }
  }

  /** Ends the wait of `open()`. */
  connected = (): void => {}

  override setUp(): void {
    super.setUp()
    this.connected()
  }

  async close(): Promise<void> {
    this.isOpen = false
    for (const one of this.#subscriptions) one.unsubscribe()
    this.end()
  }

  publish(subject: string, payload: Uint8Array): void {
    this.checkMessage('publish', subject, payload)
    for (const subscriber of this.hub.subjects.get(subject) ?? []) {
      this.#deliver(subscriber, payload, () => {})
    }
  }

  subscribe(subject: string, take: (message: Incoming) => void): Subscription {
    checkSubject(subject)
    const { subjects } = this.hub
    const subscriber = { engine: this, take }
    const all = subjects.get(subject) ?? new Set()
    subjects.set(subject, all.add(subscriber))
    const subscription = {
      unsubscribe: (): void => {
        all.delete(subscriber)
        if (all.size === 0 && subjects.get(subject) === all) subjects.delete(subject)
        this.#subscriptions.delete(subscription)
      },
    }
    this.#subscriptions.add(subscription)
    return subscription
  }

  async request(
    subject: string,
    payload: Uint8Array,
    { timeout, signal }: RequestOptions,
  ): Promise<Uint8Array> {
    checkDuration('request', 'timeout', timeout)
    this.checkMessage('request', subject, payload)
    const all = [...(this.hub.subjects.get(subject) ?? [])].filter(({ engine }) => engine.isUp)
    if (all.length === 0) throw noResponderError(subject)
    let timer: NodeJS.Timeout | undefined
    const answer = new Promise<Uint8Array>((resolve, reject) => {
      if (timeout !== Infinity) {
        timer = setTimeout(() => reject(requestTimeoutError(subject, timeout)), timeout)
      }
      for (const subscriber of all) {
        // If one of the two was cut off meanwhile, the answer does not pass either.
        const reply = (bytes: Uint8Array): void => {
          checkPayload(subject, bytes, this.maxPayload)
          if (subscriber.engine.isUp && this.isUp) resolve(bytes)
        }
        this.#deliver(subscriber, payload, reply)
      }
    })
    try {
      return await this.wait('request', answer, signal)
    } finally {
      clearTimeout(timer)
    }
  }

  async table(name: string, { ttl }: TableOptions): Promise<Table> {
    this.checkTable(name, ttl)
    const { tables } = this.hub
    const rows = tables.get(name) ?? new Rows()
    rows.keepFor(ttl)
    tables.set(name, rows)
    return new MemoryTable(this, rows)
  }

  async letters(name: string, options: LettersOptions): Promise<Letters> {
    checkSubject(name)
    this.checkUp('letters')
    const { letters } = this.hub
    const store = letters.get(name) ?? new LetterStore(options)
    // The bounds of the last caller apply, as with a broker.
    store.options = options
    letters.set(name, store)
    return new MemoryLetters(this, store)
  }

  #deliver(to: Subscriber, payload: Uint8Array, reply: Incoming['reply']): void {
    queueMicrotask(() => {
      const isSubscribed = to.engine.isOpen && to.engine.isUp && this.isUp
      if (isSubscribed) to.take({ payload, reply })
    })
  }
}

/** Makes a hub, for several engines in one process. */
export function memoryHub(): MemoryHub {
  return new Hub()
}

/**
 * An engine in memory, for an application that runs once.
 *
 * It keeps the promises of the other engines within its process, without a broker. With a hub,
 * several engines are several instances: two apps of one test, for example. `hub.cut()` and
 * `hub.heal()` make a network partition without ports.
 *
 * @example
 * import { memory, memoryHub } from '@cio/cluster'
 *
 * const hub = memoryHub()
 * const [one, other] = [memory(hub), memory(hub)]
 * const { signal } = new AbortController()
 * await Promise.all([one.open(signal), other.open(signal)])
 * hub.cut(other)
 * console.log(one.isUp, other.isUp) // true false
 */
export function memory(hub: MemoryHub = memoryHub()): Engine {
  if (!(hub instanceof Hub)) {
    throw new CioError('ERR_CIO_OPTION', 'memory: expected a hub made by `memoryHub()`')
  }
  return new MemoryEngine(hub)
}
