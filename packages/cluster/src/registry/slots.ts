/** Several connections of one key: each has a slot, which is a separate row. */

import { isCioError } from 'cio'
import type { Cluster } from '../cluster.ts'
import { encodeName } from '../names.ts'
import type { Order } from './calls.ts'
import type { ClaimTable } from './claim-table.ts'
import type { Directory, Reach } from './directory.ts'
import { type Entry, entryOf } from './entry.ts'
import type { Claims } from './claims.ts'
import { offlineError, tooManyError } from './errors.ts'
import type { Holder } from './holder.ts'

interface Found {
  readonly code: string
  readonly entry: Entry
}

/** The codes of the slots of a key; the first one is taken first. */
export function slotsOf(code: string, max: number): readonly string[] {
  return Array.from({ length: max }, (_, at) => `${code}.${at}`)
}

/** Claims the first slot that is free. */
export async function claimSlot(
  claims: Claims,
  holder: Holder,
  codes: readonly string[],
): Promise<boolean> {
  for (const code of codes) {
    holder.code = code
    try {
      return await claims.claim(holder, () => {})
    } catch (error) {
      if (!isCioError(error, 'ERR_CIO_DUPLICATE')) throw error
      claims.drop(holder)
    }
  }
  throw tooManyError(holder.key, codes.length)
}

export class Slots {
  readonly #cluster: Cluster
  readonly #table: ClaimTable
  readonly #directory: Directory
  readonly #max: number

  constructor(cluster: Cluster, table: ClaimTable, directory: Directory, max: number) {
    this.#cluster = cluster
    this.#table = table
    this.#directory = directory
    this.#max = max
  }

  /** The entry of the connection that registered last. */
  async find(key: string): Promise<Entry | undefined> {
    return newest(await this.#all(key))?.entry
  }

  /** Sends an order to all connections of a key; a call only to the one that registered last. */
  async reach(key: string, order: Order, options: Reach): Promise<unknown> {
    const all = await this.#all(key)
    const one = newest(all)
    if (!one) throw offlineError(key)
    const targets = order.kind === 'call' ? [one] : all
    const results = await Promise.allSettled(
      targets.map(({ code }) => this.#directory.reach(key, order, options, code)),
    )
    let isReached = false
    for (const result of results) {
      if (result.status === 'fulfilled') isReached = true
      // If a connection has ended meanwhile, that is no failure.
      else if (!isCioError(result.reason, 'ERR_CIO_OFFLINE')) throw result.reason
    }
    if (!isReached) throw offlineError(key)
    return (results[0] as PromiseFulfilledResult<unknown>).value
  }

  /** The rows of live instances. */
  async #all(key: string): Promise<readonly Found[]> {
    const found = await Promise.all(
      slotsOf(encodeName(key), this.#max).map(async (code) => {
        const { row } = await this.#table.find(code)
        const entry = row && entryOf(row)
        const isThere = entry && (await this.#cluster.checkAlive(entry.instance))
        return isThere ? [{ code, entry }] : []
      }),
    )
    return found.flat()
  }
}

function newest(all: readonly Found[]): Found | undefined {
  return all.toSorted((a, b) => b.entry.revision - a.entry.revision)[0]
}
