/** The table of names, for claims. */

import { isCioError } from 'cio'
import type { Engine, Row, Table } from '../engine.ts'
import { downError } from '../engine.ts'
import { type Claim, claimOf, encodeClaim } from './entry.ts'
import type { Holder } from './holder.ts'

/** Sees each row that changes. */
export interface RowWatcher {
  readonly take: (row: Row) => void
  /** Called if rows are missed from now on: the broker is down, or the cluster has closed. */
  readonly lost?: () => void
}

export class ClaimTable {
  readonly #engine: Engine
  readonly #name: string
  readonly #ttl: number
  readonly #watchers = new Set<RowWatcher>()
  #table: Table | undefined
  /**
   * Whether the last claimed name had no row. Claims come in waves of one kind: new names, or names
   * of an instance that has ended.
   */
  expectsNew = true
  /** Fulfils when changes are seen. */
  #watching: Promise<void> | undefined

  constructor(engine: Engine, name: string, ttl: number) {
    this.#engine = engine
    this.#name = name
    this.#ttl = ttl
  }

  /** Opens the table and passes on what changes, until the signal aborts. */
  async open(signal: AbortSignal): Promise<void> {
    // When the engine goes down, and when it closes.
    signal.addEventListener('abort', () => {
      this.#watching = undefined
      for (const { lost } of this.#watchers) lost?.()
    })
    const watching = (this.#watching = this.#open(signal))
    watching.catch(() => {})
    await watching
  }

  async #open(signal: AbortSignal): Promise<void> {
    this.#table = await this.#engine.table(this.#name, { ttl: this.#ttl })
    const take = (row: Row): void => {
      for (const watcher of this.#watchers) watcher.take(row)
    }
    await this.#table.watch(take, { signal })
  }

  /** @throws `ERR_CIO_CLUSTER_DOWN` */
  async untilWatching(): Promise<void> {
    if (!this.#engine.isUp || !this.#watching) throw downError('registry')
    await this.#watching
  }

  watch(watcher: RowWatcher): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  async find(code: string): Promise<{ readonly row?: Row; readonly claim?: Claim }> {
    const row = await (await this.#opened()).get(code)
    const claim = claimOf(row)
    return { ...(row && { row }), ...(claim && { claim }) }
  }

  /** Writes the row of a connection over a revision; fulfils with the new one. */
  async write(holder: Holder, over: number, claimed?: number): Promise<number> {
    const { connection, since, about, code } = holder
    const { instance } = this.#engine
    const claim = { instance, connection, since, ...(claimed !== undefined && { claimed }), about }
    const table = await this.#opened()
    try {
      return await table.replace(code, encodeClaim(claim), over)
    } catch (error) {
      // The change may have been made, and only its answer lost.
      if (isCioError(error, 'ERR_CIO_CLUSTER_DOWN')) holder.isDoubtful = true
      throw error
    }
  }

  async delete(code: string, revision: number): Promise<void> {
    await (await this.#opened()).delete(code, revision)
  }

  /** Passes on all rows that are there. */
  async snapshot(take: (row: Row) => void): Promise<void> {
    const end = new AbortController()
    try {
      const table = await this.#opened()
      await table.watch(take, { snapshot: true, signal: end.signal })
    } finally {
      end.abort()
    }
  }

  async #opened(): Promise<Table> {
    await this.untilWatching()
    return this.#table!
  }
}
