/** A table in memory. */

import { type Row, type Table, type WatchOptions, checkPayload, checkSubject } from '../engine.ts'
import { staleError } from '../engine.ts'
import type { EngineState } from '../engine-base.ts'

interface Stored {
  readonly value: Uint8Array
  readonly revision: number
  readonly at: number
}

/** The rows of a table, which all engines of a hub share. */
export class Rows {
  #ttl = 0
  // In the order of their changes, so the rows that expire first come first.
  readonly #rows = new Map<string, Stored>()
  readonly #watchers = new Set<(row: Row) => void>()
  #revision = 0

  /** The longest time counts, as with a broker. */
  keepFor(ttl: number): void {
    this.#ttl = Math.max(this.#ttl, ttl)
  }

  get(key: string): Row | undefined {
    this.#expire()
    const row = this.#rows.get(key)
    return row && { key, value: row.value, revision: row.revision }
  }

  all(): readonly Row[] {
    this.#expire()
    return [...this.#rows].map(([key, { value, revision }]) => ({ key, value, revision }))
  }

  /** Sets or deletes a row; `expected` is the revision it must have. */
  change(key: string, value: Uint8Array | null, expected?: number): number {
    this.#expire()
    if (expected !== undefined && (this.#rows.get(key)?.revision ?? 0) !== expected) {
      throw staleError(key)
    }
    const revision = ++this.#revision
    this.#rows.delete(key)
    if (value) this.#rows.set(key, { value, revision, at: performance.now() })
    for (const watcher of this.#watchers) watcher({ key, value, revision })
    return revision
  }

  watch(watcher: (row: Row) => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** As with a broker, a watch does not report it. */
  #expire(): void {
    const before = performance.now() - this.#ttl
    for (const [key, { at }] of this.#rows) {
      if (at > before) return
      this.#rows.delete(key)
    }
  }
}

/** The table for one engine: no call passes while the engine is down. */
export class MemoryTable implements Table {
  readonly #engine: EngineState
  readonly #rows: Rows

  constructor(engine: EngineState, rows: Rows) {
    this.#engine = engine
    this.#rows = rows
  }

  get(key: string): Promise<Row | undefined> {
    return this.#ask(key, () => this.#rows.get(key))
  }

  async put(key: string, value: Uint8Array): Promise<number> {
    checkPayload(key, value, this.#engine.maxPayload)
    return this.#ask(key, () => this.#rows.change(key, value))
  }

  async replace(key: string, value: Uint8Array, revision: number): Promise<number> {
    checkPayload(key, value, this.#engine.maxPayload)
    return this.#ask(key, () => this.#rows.change(key, value, revision))
  }

  async delete(key: string, revision?: number): Promise<void> {
    await this.#ask(key, () => this.#rows.change(key, null, revision))
  }

  async watch(take: (row: Row) => void, { snapshot = false, signal }: WatchOptions): Promise<void> {
    this.#engine.checkUp('watch')
    if (signal.aborted) return
    if (snapshot) for (const row of this.#rows.all()) take(row)
    let isOver = false
    const end = this.#rows.watch((row) => {
      queueMicrotask(() => {
        if (!isOver) take(row)
      })
    })
    this.#engine.untilOver(signal, () => {
      isOver = true
      end()
    })
  }

  /** One turn in each direction, as over a network, so that an outage may happen in between. */
  async #ask<Value>(key: string, work: () => Value): Promise<Value> {
    checkSubject(key)
    this.#engine.checkUp('table')
    const answer = Promise.resolve().then(work)
    return this.#engine.wait('table', answer)
  }
}
