/**
 * Figures that need repeated looks: rates, figures of the last minute, and history. It looks once a
 * second while a page is open, and once a minute otherwise.
 */

import type { ConnectionContext } from 'cio'
import type { ByteCounts } from 'cio/kit'
import { type EventLoopUtilization, performance } from 'node:perf_hooks'
import type { Collector } from './collector.ts'
import { type Column, History, columns } from './history.ts'
import { type Histogram, quantile } from './instruments.ts'
import type { LoopMeter } from './loop.ts'
import { byGroup } from './reasons.ts'
import { type Walk, walk } from './walk.ts'

const second = 1_000
const minute = 60_000

/** Sums at one moment, to subtract from later ones. */
interface Sums {
  readonly at: number
  readonly accepted: number
  readonly ended: ReadonlyMap<string, number>
  readonly endedAt: ReadonlyMap<string, number>
  readonly handshakes: readonly number[]
  readonly steps: ReadonlyMap<string, readonly number[]>
  readonly calls: ReadonlyMap<string, readonly number[]>
  readonly rx: number
  readonly tx: number
}

export class Looker {
  readonly seconds: History = new History(300)
  readonly minutes: History = new History(1_440)
  readonly #collector: Collector
  readonly #loop: LoopMeter | undefined
  readonly #listeners = new Set<() => void>()
  readonly #eachMinute: NodeJS.Timeout
  #timer: NodeJS.Timeout | undefined
  #viewers = 0
  /** The last minute, second by second, the oldest first. */
  #past: Sums[] = []
  #secondAgo: Sums | undefined
  #minuteAgo: Sums
  #last: Walk
  #busy: EventLoopUtilization = performance.eventLoopUtilization()
  #utilization = 0

  constructor(collector: Collector, loop: LoopMeter | undefined) {
    this.#collector = collector
    this.#loop = loop
    this.#last = walk(collector)
    this.#minuteAgo = this.#sums(this.#last)
    this.#eachMinute = setInterval(() => this.#minute(), minute).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    clearInterval(this.#eachMinute)
  }

  get viewers(): number {
    return this.#viewers
  }

  /** The walk of the last second; a new one if no page is open. */
  get walk(): Walk {
    return this.#timer ? this.#last : walk(this.#collector)
  }

  /** Looks once a second until the result is called. `tick` is called after each look. */
  look(tick: () => void = () => {}): () => void {
    const listener = (): void => tick()
    this.#listeners.add(listener)
    this.#viewers += 1
    if (!this.#timer) {
      // So that figures of up to a minute are there at once.
      this.#past = [this.#minuteAgo]
      this.#secondAgo = undefined
      this.#second()
      this.#timer = setInterval(() => this.#second(), second).unref()
    }
    return () => {
      if (!this.#listeners.delete(listener)) return
      this.#viewers -= 1
      if (this.#viewers > 0) return
      clearInterval(this.#timer)
      this.#timer = undefined
      // A rate of that time would stay for as long as the connection is open.
      this.#collector.seen = new WeakMap()
    }
  }

  /**
   * The time to pass a step, in seconds: in the last minute, or since looking began if that is
   * shorter.
   */
  stepQuantile(key: string, histogram: Histogram, which: number): number | null {
    return quantile(histogram, which, this.#past[0]?.steps.get(key))
  }

  /** How many calls of a method were over in the last minute, and their seconds. */
  callsLately(
    key: string,
    histogram: Histogram,
  ): { readonly lately: number; readonly p50: number | null; readonly p99: number | null } {
    const before = this.#past[0]?.calls.get(key) ?? []
    return {
      lately: histogram.count - before.reduce((sum, count) => sum + count, 0),
      p50: quantile(histogram, 0.5, before),
      p99: quantile(histogram, 0.99, before),
    }
  }

  /** How many ended in a step in the last minute, by `step reason`. */
  endedInSteps(): Map<string, number> {
    return difference(this.#collector.connections.endedAt, this.#past[0]?.endedAt)
  }

  /** How many ended in the last minute, by reason. */
  endedLately(): Map<string, number> {
    return difference(this.#collector.connections.endedFor, this.#past[0]?.ended)
  }

  #second(): void {
    this.#last = walk(this.#collector, (ctx, bytes) => this.#see(ctx, bytes, performance.now()))
    const now = this.#sums(this.#last)
    const before = this.#secondAgo
    this.#secondAgo = now
    this.#measureLoop()
    if (before) this.seconds.add(now.at / 1_000, this.#sample(before, now))
    this.#past.push(now)
    while (this.#past[0]!.at < now.at - minute) this.#past.shift()
    this.#collector.peers.tick(performance.now())
    for (const listener of this.#listeners) listener()
  }

  #minute(): void {
    if (!this.#timer) {
      this.#last = walk(this.#collector, (ctx) => this.#collector.settle(ctx))
      this.#measureLoop()
    }
    const now = this.#sums(this.#last)
    this.minutes.add(now.at / 1_000, this.#sample(this.#minuteAgo, now))
    this.#minuteAgo = now
  }

  #measureLoop(): void {
    const now = performance.eventLoopUtilization()
    this.#utilization = performance.eventLoopUtilization(now, this.#busy).utilization
    this.#busy = now
  }

  #see(ctx: ConnectionContext, { rx, tx }: ByteCounts, now: number): void {
    this.#collector.settle(ctx)
    const known = this.#collector.seen.get(ctx)
    const seen = known ?? { rx, tx, rate: 0, at: now, moved: now, counted: 0 }
    if (!known) this.#collector.seen.set(ctx, seen)
    const moved = rx + tx - seen.rx - seen.tx
    const passed = now - seen.at
    seen.rate = passed > 0 ? (moved * 1_000) / passed : 0
    if (moved > 0) seen.moved = now
    Object.assign(seen, { rx, tx, at: now })
    if (!this.#collector.countsPeers || rx + tx === seen.counted) return
    this.#collector.peers.add(this.#collector.identities.nameOf(ctx), rx + tx - seen.counted)
    seen.counted = rx + tx
  }

  #sums({ places }: Walk): Sums {
    const { families, calls } = this.#collector
    const { totals, endedAt, endedFor, handshakes } = this.#collector.connections
    let { rx, tx } = totals
    for (const place of places.values()) {
      rx += place.rx
      tx += place.tx
    }
    const steps = [...families.stepDuration].map(
      ([key, { value }]) => [key, [...value.counts]] as const,
    )
    return {
      at: Date.now(),
      accepted: totals.accepted,
      ended: endedFor,
      endedAt,
      handshakes: [...handshakes.counts],
      steps: new Map(steps),
      calls: new Map(
        [...calls.methods].map(([key, { histogram }]) => [key, [...histogram.counts]]),
      ),
      rx,
      tx,
    }
  }

  #sample(before: Sums, now: Sums): Readonly<Record<Column, number>> {
    const each = Math.max((now.at - before.at) / 1_000, 0.001)
    const { handshakes } = this.#collector.connections
    const ends = byGroup(difference(now.ended, before.ended))
    const places = [...this.#last.places.values()]
    const sample: Partial<Record<Column, number>> = {
      opened: now.accepted - before.accepted,
      ...ends,
    }
    for (const name of columns) if (sample[name] !== undefined) sample[name] /= each
    return {
      ...(sample as Record<Column, number>),
      handshakeP50: quantile(handshakes, 0.5, before.handshakes) ?? Number.NaN,
      handshakeP99: quantile(handshakes, 0.99, before.handshakes) ?? Number.NaN,
      waiting: places.reduce((sum, place) => sum + place.handshakes, 0),
      received: (now.rx - before.rx) / each,
      sent: (now.tx - before.tx) / each,
      queued: places.reduce((sum, place) => sum + place.queued, 0),
      utilization: this.#utilization,
      delay: this.#loop?.delay() ?? Number.NaN,
    }
  }
}

function difference(
  now: ReadonlyMap<string, number>,
  before: ReadonlyMap<string, number> = new Map(),
): Map<string, number> {
  const changed = [...now].map(([key, count]) => [key, count - (before.get(key) ?? 0)] as const)
  return new Map(changed.filter(([, count]) => count > 0))
}
