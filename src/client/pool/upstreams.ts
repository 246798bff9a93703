/** The targets of a pool, and which of their connections a use gets. */

import { placeOf } from '../connect-options.ts'
import { choose } from './balance.ts'
import type { Clock } from './clock.ts'
import type { PoolSettings, PoolTarget } from './options.ts'
import type { PoolTargetState } from './pool-types.ts'
import type { Member } from './member.ts'
import { type UpstreamHost, Upstream } from './upstream.ts'

/** All targets. */
export class Upstreams<Client> {
  readonly #all: readonly Upstream<Client>[]
  readonly #settings: PoolSettings
  readonly #clock: Clock
  readonly #maxWeight: number
  /** The connections that may be chosen. */
  #ready: readonly Member<Client>[] = []

  constructor(
    targets: readonly PoolTarget[],
    settings: PoolSettings,
    host: Omit<UpstreamHost<Client>, 'mayEject'>,
  ) {
    this.#settings = settings
    this.#clock = host.clock
    this.#maxWeight = Math.max(...targets.map(({ weight = 1 }) => weight))
    const own = { ...host, mayEject: () => this.#mayEject() }
    this.#all = targets.map(
      ({ weight = 1, ...target }) => new Upstream(target, weight, settings.connections, own),
    )
  }

  open(): void {
    for (const upstream of this.#all) upstream.open()
  }

  leave(): void {
    for (const upstream of this.#all) upstream.leave()
  }

  get members(): readonly Member<Client>[] {
    return this.#all.flatMap(({ members }) => members)
  }

  /** How many connections are ready. */
  get connected(): number {
    return this.#all.reduce((sum, { connections }) => sum + connections, 0)
  }

  get states(): readonly PoolTargetState[] {
    return this.#all.map((upstream) => stateOf(upstream))
  }

  /** Notes that a connection, or the state of a target, has changed. */
  changed(): void {
    this.#ready = this.#all.flatMap(({ state, members }) =>
      state === 'ready' ? members.filter(({ client }) => client) : [],
    )
  }

  /** A connection for one use, which it counts at once; undefined if none is free. */
  choose(idempotent: boolean, except?: Upstream<Client>): Member<Client> | undefined {
    const { maxPending } = this.#settings
    const isFree = (member: Member<Client>): boolean =>
      member.pending < maxPending && member.client!.connected && member.upstream !== except
    const probe = idempotent ? this.#probe(isFree) : undefined
    let member = probe ?? choose(this.#ready, this.#maxWeight, this.#clock.random)
    if (member && !isFree(member)) {
      member = choose(this.#ready.filter(isFree), this.#maxWeight, this.#clock.random)
    }
    // All are bad: any is better than none.
    if (!member && this.#ready.length === 0) {
      const ejected = this.#all.flatMap(({ members }) => members)
      const open = ejected.filter((one) => one.client && isFree(one))
      member = choose(open, this.#maxWeight, this.#clock.random)
    }
    if (member) member.pending += 1
    return member
  }

  /** A connection of a target whose next use decides about it. */
  #probe(isFree: (member: Member<Client>) => boolean): Member<Client> | undefined {
    for (const upstream of this.#all) {
      if (upstream.state !== 'probing' || upstream.isProbed) continue
      const member = upstream.members.find((one) => one.client && isFree(one))
      if (member) upstream.isProbed = true
      if (member) return member
    }
    return undefined
  }

  #mayEject(): boolean {
    const count = this.#all.length
    const ejected = this.#all.filter(({ state }) => state !== 'ready').length + 1
    return ejected < count && ejected <= this.#settings.ejection.maxShare * count
  }
}

/** A target, as the pool shows it. */
export function stateOf<Client>(upstream: Upstream<Client>): PoolTargetState {
  const { state, connections, pending, lastError, target } = upstream
  return { place: placeOf(target), state, connections, pending, lastError }
}
