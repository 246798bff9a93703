/** Keeps the table in line with the connections of this instance, also after outages. */

import { isCioError } from 'cio'
import { debug } from 'cio/kit'
import type { ClaimTable } from './claim-table.ts'
import type { Claims } from './claims.ts'
import type { Holder } from './holder.ts'

const log = debug('cio:cluster')

const atOnce = 100
const longestInterval = 5_000
const mostLeftOver = 100_000

export class Upkeep {
  readonly #table: ClaimTable
  readonly #claims: Claims
  readonly #rowTtl: number
  /** Connections that ended while their rows could not be deleted, with the codes of their names. */
  readonly #leftOver = new Map<string, string>()
  #tending = false

  constructor(table: ClaimTable, claims: Claims, rowTtl: number) {
    this.#table = table
    this.#claims = claims
    this.#rowTtl = rowTtl
  }

  /**
   * After a gap: deletes the rows of ended connections, verifies the held names, and claims the
   * unconfirmed ones.
   */
  async run(signal: AbortSignal): Promise<void> {
    await this.#table.untilWatching()
    const held = [...this.#claims.held.values()]
    log('verifies %d names, gives back %d', held.length, this.#leftOver.size)
    await this.#giveBack()
    await each(held, (holder) => this.#verify(holder))
    if (signal.aborted) return
    const interval = Math.min(longestInterval, this.#rowTtl / 6)
    const timer = setInterval(() => void this.#tend(), interval).unref()
    signal.addEventListener('abort', () => clearInterval(timer))
  }

  /** Deletes the row of a connection that has ended. */
  async forget({ code, connection, row, isDoubtful }: Holder): Promise<void> {
    if (row === 0 && !isDoubtful) return
    try {
      if (row > 0) await this.#table.delete(code, row)
      if (!isDoubtful) return
    } catch (error) {
      // Another connection has the row.
      if (isCioError(error, 'ERR_CIO_STALE') && !isDoubtful) return
    }
    // Beyond this bound, rows stay until they expire.
    if (this.#leftOver.size < mostLeftOver) this.#leftOver.set(connection, code)
  }

  /** Periodically: writes rows again before they expire, and repeats failed writes. */
  async #tend(): Promise<void> {
    if (this.#tending) return
    this.#tending = true
    const due = performance.now() - this.#rowTtl / 3
    const held = [...this.#claims.held.values()]
    try {
      await this.#giveBack()
      await each(
        held.filter(({ row, isActive }) => row === 0 && isActive),
        (holder) => this.#verify(holder),
      )
      await each(
        held.filter(({ row, writtenAt, isActive }) => row > 0 && isActive && writtenAt < due),
        (holder) => this.#refresh(holder),
      )
    } catch (error) {
      log('upkeep is tried again: %s', (error as Error).message)
    } finally {
      this.#tending = false
    }
  }

  async #giveBack(): Promise<void> {
    await each([...this.#leftOver], async ([connection, code]) => {
      const { row, claim } = await this.#table.find(code)
      if (claim?.connection === connection) {
        await this.#table.delete(code, row!.revision).catch((error: unknown) => {
          if (!isCioError(error, 'ERR_CIO_STALE')) throw error
        })
      }
      this.#leftOver.delete(connection)
    })
  }

  /** Whether the name still belongs to the connection; if it is free, claims it again. */
  async #verify(holder: Holder): Promise<void> {
    // A connection that is about to claim needs no help.
    if (holder.isLost || !this.#claims.has(holder.connection)) return
    if (!holder.isActive && holder.row === 0) return
    holder.isLate = true
    try {
      await this.#claims.takeOver(holder, () => {})
    } catch (error) {
      if (!isCioError(error, 'ERR_CIO_DUPLICATE')) throw error
      return holder.supersede(error)
    }
    if (!this.#claims.has(holder.connection)) await this.forget(holder)
  }

  async #refresh(holder: Holder): Promise<void> {
    try {
      holder.row = await this.#table.write(holder, holder.row, holder.revision)
      holder.writtenAt = Math.trunc(performance.now())
    } catch (error) {
      if (!isCioError(error, 'ERR_CIO_STALE')) throw error
      return this.#verify(holder)
    }
    if (!this.#claims.has(holder.connection)) await this.forget(holder)
  }
}

/** Runs a function for each element, several at once; rejects with the first error. */
async function each<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<unknown>,
): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) await work(items[next++]!)
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
}
