/**
 * The open connections of a server, in the order in which they were accepted.
 *
 * A list that is linked through the lives of the connections. A `Set` with many short entries makes
 * garbage that V8 collects late: each table that it outgrows refers to the next one, so the connections
 * of one old table and of all later ones stay until the next full collection.
 */

import { inspect } from 'node:util'
import { ConnectionContext } from '../lifecycle/connection.ts'
import { lifeOf } from '../lifecycle/context.ts'

/** A set for its readers; iterating takes those that are open now. */
export class OpenConnections implements ReadonlySet<ConnectionContext> {
  #first: ConnectionContext | undefined
  #last: ConnectionContext | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  add(ctx: ConnectionContext): void {
    const life = lifeOf(ctx)
    life.openIn = this
    life.before = this.#last
    if (this.#last) lifeOf(this.#last).after = ctx
    else this.#first = ctx
    this.#last = ctx
    this.#size++
  }

  delete(ctx: ConnectionContext): void {
    if (!this.has(ctx)) return
    const life = lifeOf(ctx)
    const { before, after } = life
    if (before) lifeOf(before).after = after
    else this.#first = after
    if (after) lifeOf(after).before = before
    else this.#last = before
    // Else an old connection would hold all later ones, as that table would.
    life.openIn = life.before = life.after = undefined
    this.#size--
  }

  has(ctx: unknown): boolean {
    return ctx instanceof ConnectionContext && lifeOf(ctx).openIn === this
  }

  *[Symbol.iterator](): Generator<ConnectionContext, undefined> {
    // A copy, since the loop may close them.
    const all: ConnectionContext[] = []
    for (let ctx = this.#first; ctx; ctx = lifeOf(ctx).after) all.push(ctx)
    for (const ctx of all) if (this.has(ctx)) yield ctx
    return undefined
  }

  keys(): Generator<ConnectionContext, undefined> {
    return this[Symbol.iterator]()
  }

  values(): Generator<ConnectionContext, undefined> {
    return this[Symbol.iterator]()
  }

  *entries(): Generator<[ConnectionContext, ConnectionContext], undefined> {
    for (const ctx of this) yield [ctx, ctx]
    return undefined
  }

  forEach(
    each: (
      ctx: ConnectionContext,
      again: ConnectionContext,
      set: ReadonlySet<ConnectionContext>,
    ) => void,
    self?: unknown,
  ): void {
    for (const ctx of this) each.call(self, ctx, ctx, this)
  }

  get [Symbol.toStringTag](): string {
    return 'OpenConnections'
  }
}

Object.defineProperty(OpenConnections.prototype, inspect.custom, {
  value(this: OpenConnections): Set<ConnectionContext> {
    return new Set(this)
  },
})

// `union()` and the six others, where this version of Node has them.
const ofSet: object = Set.prototype
for (const name of Object.getOwnPropertyNames(ofSet)) {
  if (name in OpenConnections.prototype || ['clear', 'constructor'].includes(name)) continue
  Object.defineProperty(OpenConnections.prototype, name, {
    configurable: true,
    writable: true,
    value(this: OpenConnections, ...given: unknown[]): unknown {
      const copy = new Set(this) as unknown as Record<string, (...given: unknown[]) => unknown>
      return copy[name]!(...given)
    },
  })
}
