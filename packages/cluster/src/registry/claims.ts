/**
 * Decides which connection has a name, by the order of a table. A claim replaces the row of the
 * previous claim, so each claim has exactly one predecessor. The revision of its row is the fencing
 * token.
 */

import { isCioError } from 'cio'
import { quote } from 'cio/kit'
import type { Cluster } from '../cluster.ts'
import { type Incoming, type Row, downError } from '../engine.ts'
import { atMost } from '../at-most.ts'
import type { ClaimTable } from './claim-table.ts'
import { type Claim, claimOf } from './entry.ts'
import { duplicateError, takenOverError } from './errors.ts'
import { Handover } from './handover.ts'
import type { Holder } from './holder.ts'
import type { Takeovers } from './takeovers.ts'

/** The settings for claims. */
export interface ClaimsOptions {
  readonly name: string
  readonly duplicates: 'newest' | 'oldest'
  readonly handoverTimeout: number
  readonly whenDown: 'admit' | 'refuse' | 'wait'
}

/** The connection that had the name before. */
export interface Predecessor {
  readonly instance: string
  readonly revision: number
}

const mostAttempts = 100
const retryDelay = 100

export class Claims {
  /** The newest connection of each name on this instance, by the code of the name. */
  readonly held: Map<string, Holder> = new Map()
  readonly #cluster: Cluster
  readonly #table: ClaimTable
  readonly #options: ClaimsOptions
  readonly #takeovers: Takeovers
  readonly #handover: Handover
  /** All connections whose pipeline has not returned. */
  readonly #open = new Map<string, Holder>()

  constructor(cluster: Cluster, table: ClaimTable, options: ClaimsOptions, takeovers: Takeovers) {
    this.#cluster = cluster
    this.#table = table
    this.#options = options
    this.#takeovers = takeovers
    this.#handover = new Handover(cluster, options, this.#open)
    table.watch({ take: (row) => this.#see(row) })
  }

  /** Answers another instance. */
  serve(message: Incoming): Promise<void> {
    return this.#handover.serve(message)
  }

  has(connection: string): boolean {
    return this.#open.has(connection)
  }

  /** Fulfils when the connection may continue; rejects if it was refused. */
  async claim(holder: Holder, onTakeover: (before: Predecessor) => void): Promise<boolean> {
    const { code, key } = holder
    const { duplicates, whenDown } = this.#options
    this.#open.set(holder.connection, holder)
    let before = this.held.get(code)
    if (before && !before.isLost && duplicates === 'oldest') throw duplicateError(key)
    if (before && !before.isLost) {
      await this.#takeovers.admit(key, holder)
      if (holder.isLost) return false
      before = this.held.get(code)
      if (before?.isNewerThan(holder)) {
        holder.supersede(takenOverError(key))
        return false
      }
    }
    this.held.set(code, holder)
    before?.supersede(takenOverError(key))
    const gone: Promise<unknown>[] = before ? [before.released] : []
    while (!holder.isLost) {
      try {
        await this.#table.untilWatching()
        const left = await this.takeOver(holder, onTakeover)
        if (left) gone.push(left.done)
        break
      } catch (error) {
        if (!isCioError(error, 'ERR_CIO_CLUSTER_DOWN') || whenDown === 'refuse') throw error
        holder.isLate = true
        if (whenDown === 'admit') break
        await this.#untilUp(holder)
      }
    }
    // Also if it has lost the name meanwhile: its successor waits for it, and not for the first
    // connection.
    await this.#handover.atMost(...gone)
    return !holder.isLost
  }

  /** Gives up a claim that was refused; the connection may claim another name. */
  drop(holder: Holder): void {
    this.#open.delete(holder.connection)
    if (this.held.get(holder.code) === holder) this.held.delete(holder.code)
  }

  /** The pipeline of a connection has returned. */
  release(holder: Holder): void {
    this.drop(holder)
    holder.release()
  }

  /**
   * Replaces the row of the previous connection. `done` fulfils when that connection has finished;
   * undefined if there is none.
   */
  async takeOver(
    holder: Holder,
    onTakeover: (before: Predecessor) => void,
  ): Promise<{ readonly done: Promise<unknown> } | undefined> {
    const { code, key } = holder
    for (let attempt = 0; attempt < mostAttempts && !holder.isLost; attempt++) {
      // Without a row, one write is the whole claim. If the name has a row, the write fails.
      const isNew =
        attempt === 0 && holder.row === 0 && !holder.isDoubtful && this.#table.expectsNew
      const { row, claim } = isNew ? {} : await this.#table.find(code)
      if (claim?.connection === holder.connection) {
        this.#adopt(holder, row!, claim)
        return undefined
      }
      const isTaken = claim !== undefined && (await this.#isTaken(key, claim))
      if (isTaken && this.#options.duplicates === 'oldest') throw duplicateError(key)
      if (isTaken && holder.isLate && !(await this.#isNewer(holder, row!, claim))) {
        holder.supersede(takenOverError(key))
        return undefined
      }
      // An earlier row does not count any more.
      holder.row = 0
      // A connection of this instance was counted already, before it was closed.
      const isRemote = claim?.instance !== this.#cluster.engine.instance
      if (isTaken && isRemote) await this.#takeovers.admit(key, holder)
      if (holder.isLost) return undefined
      try {
        const revision = await this.#table.write(holder, row?.revision ?? 0)
        this.#won(holder, revision, revision)
      } catch (error) {
        if (!isCioError(error, 'ERR_CIO_STALE')) throw error
        if (isNew) this.#table.expectsNew = false
        continue
      }
      this.#table.expectsNew = row === undefined
      if (!isTaken) return undefined
      onTakeover({ instance: claim.instance, revision: row!.revision })
      return { done: this.#handover.yielded(key, claim) }
    }
    if (holder.isLost) return undefined
    throw downError(`the name ${quote(key)} was claimed by others ${mostAttempts} times`)
  }

  /** The row belongs to this connection: an answer was lost, or the row was written again. */
  #adopt(holder: Holder, { revision }: Row, { claimed = revision }: Claim): void {
    this.#won(holder, revision, Math.max(holder.revision, claimed))
  }

  /** A later claim of another connection ends the connection on this instance. */
  #see(row: Row): void {
    const holder = this.held.get(row.key)
    if (!holder || holder.row === row.revision) return
    const claim = claimOf(row)
    if (!claim || claim.connection === holder.connection) return
    // The row may arrive before the answer to our own claim.
    holder.seen = Math.max(holder.seen, row.revision)
    if (holder.row > 0 && row.revision > holder.row) holder.supersede(takenOverError(holder.key))
  }

  #won(holder: Holder, row: number, revision: number): void {
    holder.row = row
    holder.revision = revision
    holder.writtenAt = Math.trunc(performance.now())
    if (holder.seen > row) holder.supersede(takenOverError(holder.key))
  }

  /** Whether a claim is in force. With `oldest`, asks its instance. */
  async #isTaken(key: string, claim: Claim): Promise<boolean> {
    const { instance, connection } = claim
    if (instance === this.#cluster.engine.instance) return this.#open.has(connection)
    if (!(await this.#cluster.checkAlive(instance))) return false
    if (this.#options.duplicates === 'newest') return true
    return (await this.#handover.ageOf(key, claim)) !== null
  }

  /**
   * Whether a connection is newer than the holder of the name. If the instance of the holder does not
   * answer, the order of the table decides.
   */
  async #isNewer(holder: Holder, row: Row, claim: Claim): Promise<boolean> {
    const local = this.#open.get(claim.connection)
    if (local) return holder.isNewerThan(local)
    const asked = holder.age
    const age = await this.#handover.ageOf(holder.key, claim)
    if (age === null) return true
    // It was said in between.
    const own = (asked + holder.age) / 2
    return age === undefined ? holder.row > row.revision : own < age
  }

  async #untilUp(holder: Holder): Promise<void> {
    const { engine } = this.#cluster
    if (engine.isUp) {
      await atMost(retryDelay, holder.lost)
      return
    }
    let up = (): void => {}
    const came = new Promise<void>((resolve) => {
      up = resolve
      engine.on('up', up)
    })
    await Promise.race([came, holder.lost])
    engine.off('up', up)
  }
}
