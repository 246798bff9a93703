/** Signs of life: which instances there are. */

import { debug } from 'cio/kit'
import { type Engine, type Row, type Table, leastTtl } from '../engine.ts'

const log = debug('cio:cluster')

/** An instance, by the content of its last sign of life. */
export interface InstanceInfo {
  readonly id: string
  /** When it started, by its own clock. */
  readonly startedAt: Date
  /** Its open connections. */
  readonly connections: number
  /** Whether its servers drain. */
  readonly isDraining: boolean
  /** The revisions of shared lists and trust that are in force there, by their names. */
  readonly shared: ReadonlyMap<string, SharedRevision>
}

/** The revision of a list or trust that an instance has applied. */
export interface SharedRevision {
  /** 0: none yet. */
  readonly revision: number
  /** The beginning of the SHA-256 of the signed document. */
  readonly digest: string
}

/** The content of signs of life, and the handlers for those of others. */
export interface InstanceHooks {
  readonly load: () => { readonly connections: number; readonly isDraining: boolean }
  readonly up: (instance: InstanceInfo) => void
  readonly down: (instance: InstanceInfo) => void
}

const longestSweep = 1_000
const mostLapsed = 1_000

/**
 * The instances that send signs of life, as rows of a table. An instance is alive by the time since
 * this one saw its last row; the clocks of other machines do not matter.
 */
export class Instances {
  readonly alive: Map<string, InstanceInfo> = new Map()
  readonly #engine: Engine
  readonly #leaseTimeout: number
  readonly #sweepInterval: number
  readonly #hooks: InstanceHooks
  readonly #seen = new Map<string, number>()
  /** Instances that sent no sign for too long, with the revision of their last one. */
  readonly #lapsed = new Map<string, number>()
  readonly #revisions = new Map<string, number>()
  readonly #shared = new Map<string, SharedRevision>()
  readonly #watchers = new Set<() => void>()
  #table: Table | undefined
  #isRunning = false
  #startedAt = new Date()
  #swept = 0

  constructor(engine: Engine, leaseTimeout: number, hooks: InstanceHooks) {
    this.#engine = engine
    this.#leaseTimeout = leaseTimeout
    this.#sweepInterval = Math.min(longestSweep, leaseTimeout / 4)
    this.#hooks = hooks
  }

  /** Sends signs of life and watches those of others, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    this.#renew()
    const ttl = Math.max(this.#leaseTimeout, leastTtl)
    const table = (this.#table = await this.#engine.table('instances', { ttl }))
    if (!this.alive.has(this.#engine.instance)) this.#startedAt = new Date()
    await this.#beat()
    // Other instances may have left during the gap.
    const missing = new Set(this.alive.keys())
    const take = (row: Row): void => {
      missing.delete(row.key)
      this.#take(row)
    }
    this.#renew()
    await table.watch(take, { snapshot: true, signal })
    for (const id of missing) this.#remove(id)
    if (signal.aborted) return
    this.#isRunning = true
    const beats = setInterval(() => this.#tryToBeat(), this.#leaseTimeout / 3).unref()
    const sweeps = setInterval(() => this.#sweep(), this.#sweepInterval).unref()
    signal.addEventListener('abort', () => {
      this.#isRunning = false
      clearInterval(beats)
      clearInterval(sweeps)
    })
  }

  /** Publishes at once, and with each sign of life, the revision that is in force here. */
  report(name: string, revision: SharedRevision): void {
    this.#shared.set(name, revision)
    if (this.#isRunning) this.#tryToBeat()
  }

  /** Calls a function after each sign of life, and when an instance is gone. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Publishes that this instance has left. It does not wait for the broker, which may hang. */
  leave(): void {
    const { instance, isUp } = this.#engine
    this.alive.clear()
    this.#seen.clear()
    this.#lapsed.clear()
    this.#revisions.clear()
    if (isUp) this.#table?.delete(instance).catch(() => {})
  }

  isAlive(id: string): boolean {
    if (id === this.#engine.instance) return true
    const seen = this.#seen.get(id)
    if (seen === undefined) return false
    if (!this.#engine.isUp) return true
    const now = performance.now()
    // After a stall of this process, the signs of others wait in its sockets.
    return this.#isStalled(now) || this.#isCutOff(now) || now - seen <= this.#leaseTimeout
  }

  /** As `isAlive`, but asks the table about an instance that has not been seen yet. */
  async checkAlive(id: string): Promise<boolean> {
    if (this.isAlive(id)) return true
    if (this.#seen.has(id)) return false
    const row = await this.#table?.get(id)
    const isNew = row?.value && row.revision !== this.#lapsed.get(id)
    if (isNew && !this.#seen.has(id)) this.#take(row)
    return this.isAlive(id)
  }

  async #beat(): Promise<void> {
    const { connections, isDraining } = this.#hooks.load()
    const startedAt = this.#startedAt.getTime()
    const shared = Object.fromEntries(this.#shared)
    const sign = { v: 1, startedAt, connections, isDraining, shared }
    await this.#table!.put(this.#engine.instance, Buffer.from(JSON.stringify(sign)))
  }

  /** If this fails, the engine goes down, and that is handled elsewhere. */
  #tryToBeat(): void {
    this.#beat().catch((error: Error) => log('sign of life: %s', error.message))
  }

  /** After a gap the last signs are old: until the table says otherwise, the instances are alive. */
  #renew(): void {
    const now = performance.now()
    this.#swept = now
    for (const id of this.#seen.keys()) this.#seen.set(id, now)
  }

  #take({ key, value, revision }: Row): void {
    const info = value && parse(key, value)
    if (!info) return this.#remove(key)
    const isNew = !this.alive.has(key)
    const now = performance.now()
    // Signs of others may arrive after it.
    if (key === this.#engine.instance && this.#isCutOff(now)) this.#renew()
    this.#seen.set(key, now)
    this.#revisions.set(key, revision)
    this.#lapsed.delete(key)
    this.alive.set(key, info)
    if (isNew && key !== this.#engine.instance) this.#hooks.up(info)
    for (const watcher of this.#watchers) watcher()
  }

  #remove(id: string): void {
    const info = this.alive.get(id)
    this.alive.delete(id)
    this.#seen.delete(id)
    this.#revisions.delete(id)
    if (info && id !== this.#engine.instance) this.#hooks.down(info)
    for (const watcher of this.#watchers) watcher()
  }

  #lapse(id: string): void {
    if (this.#lapsed.size >= mostLapsed) this.#lapsed.clear()
    this.#lapsed.set(id, this.#revisions.get(id)!)
    this.#remove(id)
  }

  #isStalled(now: number): boolean {
    return now - this.#swept > 3 * this.#sweepInterval
  }

  /** This instance does not get its own signs back, so the silence of others proves nothing. */
  #isCutOff(now: number): boolean {
    const own = this.#seen.get(this.#engine.instance)
    return own !== undefined && now - own > this.#leaseTimeout / 2
  }

  #sweep(): void {
    const now = performance.now()
    const late = this.#isStalled(now) ? now - this.#swept : 0
    this.#swept = now
    if (late > 0) {
      for (const [id, seen] of this.#seen) this.#seen.set(id, seen + late)
      return
    }
    if (this.#isCutOff(now)) return
    for (const [id, seen] of this.#seen) if (now - seen > this.#leaseTimeout) this.#lapse(id)
  }
}

/**
 * The row of another version may have more fields; a row without these fields is not a sign of
 * life.
 */
function parse(id: string, value: Uint8Array): InstanceInfo | undefined {
  try {
    const sign = JSON.parse(Buffer.from(value).toString()) as Record<string, unknown>
    const { startedAt, connections } = sign
    if (typeof startedAt !== 'number' || typeof connections !== 'number') return undefined
    const isDraining = sign.isDraining === true
    const shared = revisionsOf(sign.shared)
    return { id, startedAt: new Date(startedAt), connections, isDraining, shared }
  } catch {
    return undefined
  }
}

function revisionsOf(given: unknown): ReadonlyMap<string, SharedRevision> {
  const found = new Map<string, SharedRevision>()
  for (const [name, one] of Object.entries(given ?? {})) {
    const { revision, digest } = (one ?? {}) as Partial<SharedRevision>
    if (typeof revision === 'number' && typeof digest === 'string') {
      found.set(name, { revision, digest })
    }
  }
  return found
}
