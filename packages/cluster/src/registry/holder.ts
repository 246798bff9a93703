/** A connection that has a name, or wants it. */

import type { CioError } from 'cio'
import type { Registration } from './types.ts'

/** The connection behind a holder. */
export interface Claimant {
  /** Aborts when the connection is over. */
  readonly signal: AbortSignal
  /** Ends the connection. */
  readonly end: (error: CioError) => void
}

export class Holder implements Registration {
  readonly key: string
  /** The key of its row: another one with each slot that it tries. */
  code: string
  /** Names it among all connections of this instance. */
  readonly connection: string
  readonly claimant: Claimant
  readonly about: unknown
  readonly since: number = Date.now()
  /** The fencing token; 0 without a claim. */
  revision = 0
  /** The revision of the row, which is written again from time to time. */
  row = 0
  /** When the row was written. */
  writtenAt = 0
  /** The highest revision of a claim of another connection that was seen. */
  seen = 0
  /** Whether a write of its row has failed, and may have been made. */
  isDoubtful = false
  /** Whether its pipeline goes on, so that it takes messages. */
  isActive = false
  /** Why it must not go on. */
  superseded: CioError | undefined
  readonly released: Promise<void>
  #release = (): void => {}
  #interrupt = (): void => {}
  /** Fulfils when it must not go on. */
  readonly lost: Promise<void>

  constructor(key: string, code: string, connection: string, claimant: Claimant, about: unknown) {
    this.key = key
    this.code = code
    this.connection = connection
    this.claimant = claimant
    this.about = about
    this.released = new Promise((resolve) => (this.#release = resolve))
    this.lost = new Promise((resolve) => (this.#interrupt = resolve))
    if (claimant.signal.aborted) this.#interrupt()
    else claimant.signal.addEventListener('abort', () => this.#interrupt(), { once: true })
  }

  get slot(): number {
    return Number(this.code.split('.')[1] ?? 0)
  }

  get isConfirmed(): boolean {
    return this.row > 0 && !this.superseded
  }

  /** Whether the connection must not go on. */
  get isLost(): boolean {
    return this.superseded !== undefined || this.claimant.signal.aborted
  }

  /** Ends the connection, since another one has the name. */
  supersede(error: CioError): void {
    if (this.superseded) return
    this.superseded = error
    this.#interrupt()
    this.claimant.end(error)
  }

  /** Its pipeline has returned. */
  release(): void {
    this.#release()
  }
}
