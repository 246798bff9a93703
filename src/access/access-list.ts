/** Who has come past a list, and whether they may stay when it changes. */

import { announce } from '../lifecycle/app-events.ts'
import { dismiss } from '../lifecycle/evict.ts'
import { type Judge, type ListOptions, judge } from './access-check.ts'
import type { Middleware, Next } from '../pipeline/middleware.ts'
import type { Who } from '../identity/peer-matcher.ts'
import type { StreamContext } from '../lifecycle/stream-context.ts'

/** A list that can change while connections are open. */
export interface List extends Middleware<StreamContext> {
  /**
   * Puts another list in its place, and judges all open connections by it; whoever is not let in
   * any more is dealt with as `onChange` says. Without an argument it judges by the same list, where
   * what a predicate looks at has changed. Fulfils when all have been judged.
   *
   * @throws `ERR_CIO_OPTION`: `who` is of no kind that is known; the list stays as it was
   */
  readonly update: (who?: Who) => Promise<void>
}

/** The connections that a list has let in. */
export class Admission {
  readonly #owner: string
  readonly #admits: boolean
  readonly #options: ListOptions
  readonly #inside = new Set<StreamContext>()
  #judge: Judge
  #updates = 0

  constructor(owner: string, who: Who, admits: boolean, options: ListOptions) {
    this.#owner = owner
    this.#admits = admits
    this.#options = options
    this.#judge = judge(owner, who, admits, options)
  }

  /** Runs what is inside for who is on the right side of the list. */
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

  async update(who?: Who): Promise<void> {
    if (who !== undefined) {
      this.#judge = judge(this.#owner, who, this.#admits, this.#options)
    }
    this.#updates += 1
    const { verdict } = this.#judge
    await Promise.all([...this.#inside].map((ctx) => this.#judgeAgain(ctx, verdict)))
  }

  async #judgeAgain(ctx: StreamContext, verdict: Judge['verdict']): Promise<void> {
    // One that is gone meanwhile throws that.
    const error = await verdict(ctx).catch(() => undefined)
    if (!error || ctx.isOver) return
    if (this.#options.report) announce(ctx.app, 'report', error, ctx)
    else dismiss(ctx, error, this.#options)
  }
}
