/** The targets of a pool, and the choice of a connection for each use. */

import { isRefusal, mayHeal } from '../../network-errors.ts'
import { placeOf } from '../connect-options.ts'
import { choose } from './balance.ts'
import type { Clock } from './clock.ts'
import type { PoolSettings } from './options.ts'
import type { PoolTarget } from './pool-types.ts'
import type { PoolTargetState } from './pool-types.ts'
import type { Member } from './member.ts'
import { type UpstreamHost, Upstream } from './upstream.ts'

/** Milliseconds that pending uses get after the source has dropped their target. */
const drainTimeout = 30_000

/** All targets. */
export class Upstreams<Client> {
  readonly #settings: PoolSettings
  readonly #clock: Clock
  readonly #host: UpstreamHost<Client>
  #byKey = new Map<string, Upstream<Client>>()
  #all: readonly Upstream<Client>[] = []
  /** Targets that were dropped, while uses of their connections are pending. */
  readonly #leaving = new Map<Upstream<Client>, () => void>()
  #maxWeight = 1
  /** The connections that may be chosen, and those of the lowest priority number among them. */
  #open: readonly Member<Client>[] = []
  #ready: readonly Member<Client>[] = []

  constructor(
    settings: PoolSettings,
    host: Omit<UpstreamHost<Client>, 'mayEject' | 'failed'> & {
      /** No target can be used, and no further attempt heals that. */
      readonly unfit: (error: Error) => void
    },
  ) {
    this.#settings = settings
    this.#clock = host.clock
    const failed = (): void => {
      const error = this.#unfit()
      if (error) host.unfit(error)
    }
    this.#host = { ...host, failed, mayEject: () => this.#mayEject() }
  }

  /**
   * Takes a new list of targets: keeps the targets that are still in it, opens the new ones, and
   * drains the others.
   */
  update(targets: readonly PoolTarget[]): boolean {
    const before = this.#byKey
    const opened: Upstream<Client>[] = []
    this.#byKey = new Map()
    for (const { weight = 1, priority = 0, ...target } of targets) {
      const key = JSON.stringify([placeOf(target), target.servername])
      let upstream = before.get(key) ?? this.#byKey.get(key)
      if (!upstream) {
        upstream = new Upstream(target, weight, this.#settings.connections, this.#host)
        opened.push(upstream)
      }
      Object.assign(upstream, { weight, priority })
      this.#byKey.set(key, upstream)
    }
    this.#all = [...this.#byKey.values()]
    this.#maxWeight = Math.max(...targets.map(({ weight = 1 }) => weight))
    const left = [...before].filter(([key]) => !this.#byKey.has(key))
    for (const [, upstream] of left) this.#drain(upstream)
    for (const upstream of opened) upstream.open()
    return opened.length > 0 || left.length > 0
  }

  leave(): void {
    for (const stop of this.#leaving.values()) stop()
    for (const upstream of this.#all) upstream.leave()
  }

  #drain(upstream: Upstream<Client>): void {
    upstream.leave()
    const stop = this.#clock.after(drainTimeout, () => {
      this.#leaving.delete(upstream)
      for (const { client } of upstream.members) void client?.close({ timeout: 0 })
    })
    this.#leaving.set(upstream, stop)
  }

  get members(): readonly Member<Client>[] {
    return [...this.#all, ...this.#leaving.keys()].flatMap(({ members }) => members)
  }

  /** How many connections are ready. */
  get connected(): number {
    return this.#all.reduce((sum, { connections }) => sum + connections, 0)
  }

  /** @throws the error of all targets, if no further attempt heals it */
  checkFit(): void {
    const error = this.#unfit()
    if (error) throw error
  }

  #unfit(): Error | undefined {
    const isUnfit = ({ connections, lastError: error }: Upstream<Client>): boolean =>
      connections === 0 && error !== undefined && (isRefusal(error) || !mayHeal(error))
    return this.#all.every(isUnfit) ? this.#all[0]?.lastError : undefined
  }

  get states(): readonly PoolTargetState[] {
    return this.#all.map((upstream) => stateOf(upstream))
  }

  /** Notes that a connection, or the state of a target, has changed. */
  changed(): void {
    this.#open = this.#all.flatMap(({ state, members }) =>
      state === 'ready' ? members.filter(({ client }) => client) : [],
    )
    const first = Math.min(...this.#open.map(({ upstream }) => upstream.priority))
    this.#ready = this.#open.filter(({ upstream }) => upstream.priority === first)
    for (const [upstream, stop] of this.#leaving) {
      if (upstream.members.some(({ client }) => client)) continue
      stop()
      this.#leaving.delete(upstream)
    }
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
    // A retry goes to another target, even to one with a higher number.
    if (!member && except) {
      member = choose(this.#open.filter(isFree), this.#maxWeight, this.#clock.random)
    }
    // No other target is connected, and an ejected one is better than none.
    if (!member && this.#ready.length === 0) {
      const ejected = this.#all.flatMap(({ members }) => members)
      const open = ejected.filter((one) => one.client && isFree(one))
      member = choose(open, this.#maxWeight, this.#clock.random)
    }
    if (member) member.pending += 1
    return member
  }

  /** A connection of a target that is probing: this use decides about the target. */
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
