/** The connections that a list has admitted, and what happens to them when the list changes. */

import { emitSafely } from '../lifecycle/app-events.ts'
import { evict, noteSite } from '../lifecycle/evict.ts'
import { type AccessCheck, type AccessListOptions, accessCheck } from './access-check.ts'
import type { Refusal } from '../end-reason.ts'
import type { Hints, Next } from '../pipeline/middleware.ts'
import type { Peer } from '../identity/peer.ts'
import type { PeerSelector } from './peer-matcher.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** The members that a list adds to the context of a connection that it admits. */
export interface VerifiedContext {
  /** The verified identity of the other side, never null. */
  readonly peer: Peer
}

/** A list that can change while connections are open. */
export interface AccessListMiddleware<Adds extends object = {}> {
  // Not a `Middleware<…, Adds>`: that type would require on `ctx` the members that it adds.
  (ctx: StreamContext, next: Next): unknown
  /** Never set: carries the type of what it adds, for inference only. */
  readonly adds?: Adds
  /** The order hints of the list. */
  readonly hints?: Hints
  /**
   * Replaces the list, and checks all open connections against it. If the new list rejects a peer,
   * `revoked` decides what happens to its connection. Without an argument it checks them against
   * the same list, for predicates whose data has changed. Fulfils when all are checked.
   *
   * @throws `ERR_CIO_OPTION`: `who` is of an unknown kind; the list stays as it was
   */
  readonly update: (who?: PeerSelector) => Promise<void>
}

/** The connections that a list has admitted. */
export class AccessList {
  readonly #owner: string
  readonly #admits: boolean
  readonly #options: AccessListOptions
  readonly #inside = new Set<StreamContext>()
  #judge: AccessCheck
  #updates = 0

  constructor(owner: string, who: PeerSelector, admits: boolean, options: AccessListOptions) {
    this.#owner = owner
    this.#admits = admits
    this.#options = options
    this.#judge = accessCheck(owner, who, admits, options)
  }

  /** Runs the inner middleware if the list admits the peer. */
  async admit(ctx: StreamContext, next: Next): Promise<void> {
    for (let updates = -1; updates !== this.#updates;) {
      updates = this.#updates
      await this.#judge(ctx)
    }
    this.#inside.add(ctx)
    try {
      return await next()
    } finally {
      this.#inside.delete(ctx)
    }
  }

  /** The hint `refusalOf`. */
  refusalOf(peer: Peer): Promise<Refusal | undefined> {
    return this.#judge.refusalOf(peer)
  }

  async update(who?: PeerSelector): Promise<void> {
    if (who !== undefined) {
      this.#judge = accessCheck(this.#owner, who, this.#admits, this.#options)
    }
    this.#updates += 1
    const { verdict } = this.#judge
    await Promise.all([...this.#inside].map((ctx) => this.#judgeAgain(ctx, verdict)))
  }

  async #judgeAgain(ctx: StreamContext, verdict: AccessCheck['verdict']): Promise<void> {
    // If the connection closed meanwhile, this throws that error.
    const error = await verdict(ctx).catch(() => undefined)
    if (!error || ctx.isClosed) return
    if (this.#options.dryRun) {
      noteSite(ctx, error)
      emitSafely(ctx.app, 'wouldReject', error, ctx)
    } else evict(ctx, error, this.#options)
  }
}
