/** A connection that has a name, or wants it. */

import type { CioError } from 'cio'
import type { Subscription } from '../engine.ts'
import { type Resolvers, resolvers } from '../resolvers.ts'
import type { Registered, Registration, Running } from './types.ts'

/** Ends a connection. */
export type End = (ctx: Registered, error: CioError) => void

// There is one for each device, so rarely needed parts are made on demand.
export class Holder implements Registration {
  readonly ctx: Registered
  readonly key: string
  /** The key of its row: another one with each slot that it tries. */
  code: string
  /** Identifies it among all connections of this instance. */
  readonly connection: string
  readonly about: unknown
  readonly since: number = Date.now()
  readonly #arrivedAt = performance.now()
  /** The fencing token; 0 without a claim. */
  revision = 0
  /** The revision of the row, which is written again from time to time. */
  row = 0
  /** When the row was written, in whole milliseconds: V8 keeps a fraction in an object of its own. */
  writtenAt = 0
  /** The highest revision of a claim of another connection that was seen. */
  seen = 0
  /** Whether a write of its row has failed, and may have been made. */
  isDoubtful = false
  /** Whether its claim had to wait: a newer connection may have the name by now. */
  isLate = false
  /** Why it must not go on. */
  superseded: CioError | undefined
  /** The subscription for its messages, while its pipeline runs. */
  subscription: Subscription | undefined
  running: Running | undefined
  readonly #end: End
  #isReleased = false
  #released: Resolvers | undefined
  #lost: Resolvers | undefined

  constructor(
    ctx: Registered,
    name: { readonly key: string; readonly code: string; readonly connection: string },
    about: unknown,
    end: End,
  ) {
    this.ctx = ctx
    this.key = name.key
    this.code = name.code
    this.connection = name.connection
    this.about = about
    this.#end = end
  }

  get slot(): number {
    return Number(this.code.split('.')[1] ?? 0)
  }

  get isConfirmed(): boolean {
    return this.row > 0 && !this.superseded
  }

  /** Milliseconds since it arrived: no clock of another machine counts. */
  get age(): number {
    return performance.now() - this.#arrivedAt
  }

  /** Compares when the two arrived: their ages are read one after the other, with a stall in between. */
  isNewerThan(other: Holder): boolean {
    return this.#arrivedAt > other.#arrivedAt
  }

  /** Whether its pipeline has reached its end and runs, so that it takes messages. */
  get isActive(): boolean {
    return this.subscription !== undefined
  }

  /** Whether the connection must not go on. */
  get isLost(): boolean {
    return this.superseded !== undefined || this.ctx.isDraining
  }

  /** Fulfils when it must not go on. */
  get lost(): Promise<void> {
    if (this.isLost) return Promise.resolve()
    if (!this.#lost) {
      this.#lost = resolvers()
      this.ctx.draining.addEventListener('abort', this.#lost.resolve, { once: true })
    }
    return this.#lost.promise
  }

  /** Fulfils when its pipeline has returned. */
  get released(): Promise<void> {
    if (this.#isReleased) return Promise.resolve()
    return (this.#released ??= resolvers()).promise
  }

  /** Ends the connection, since another one has the name. */
  supersede(error: CioError): void {
    if (this.superseded) return
    this.superseded = error
    this.#lost?.resolve()
    this.#end(this.ctx, error)
  }

  /** Its pipeline has returned. */
  release(): void {
    this.#isReleased = true
    this.#released?.resolve()
  }
}
