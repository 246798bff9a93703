/** One walk over the open connections: counts them by step, and adds up their bytes. */

import type { ConnectionContext } from 'cio'
import { type ByteCounts, bytesOf } from 'cio/kit'
import type { Collector } from './collector.ts'
import { placeOfServer, pipe } from './places.ts'
import type { Place } from './instruments.ts'

/** Sums over the connections of one place. */
export interface PlaceSums {
  readonly place: Place
  active: number
  queued: number
  handshakes: number
  rx: number
  tx: number
  wireRx: number
  wireTx: number
}

/** The findings of one walk. */
export interface Walk {
  readonly places: ReadonlyMap<string, PlaceSums>
  /** The number of connections in each step of the connection pipeline. */
  readonly steps: ReadonlyMap<string, number>
  /** How many run on each generation of it. */
  readonly generations: ReadonlyMap<number, number>
}

/** Walks over all open connections. `visit` gets each one. */
export function walk(
  collector: Collector,
  visit: (ctx: ConnectionContext, bytes: ByteCounts, queued: number) => void = () => {},
): Walk {
  const places = new Map<string, PlaceSums>()
  const steps = new Tally<string>()
  const generations = new Tally<number>()
  const sums = (place: Place): PlaceSums => {
    const known = places.get(place.key)
    if (known) return known
    const made = {
      place,
      active: 0,
      queued: 0,
      handshakes: 0,
      rx: 0,
      tx: 0,
      wireRx: 0,
      wireTx: 0,
    }
    places.set(place.key, made)
    return made
  }
  const add = (of: PlaceSums, ctx: ConnectionContext): void => {
    const bytes = bytesOf(ctx)
    const queued = ctx.stream.writableLength
    of.active += 1
    of.queued += queued
    of.rx += bytes.rx
    of.tx += bytes.tx
    of.wireRx += bytes.wireRx
    of.wireTx += bytes.wireTx
    if (ctx.step === 'secure' && ctx.awaitsHandshake) of.handshakes += 1
    steps.add(ctx.step)
    generations.add(ctx.generation)
    visit(ctx, bytes, queued)
  }
  // A server without connections has a series too.
  for (const server of collector.servers) {
    const of = sums(placeOfServer(server))
    for (const ctx of server.connections) add(of, ctx)
  }
  if (collector.loose.size > 0) for (const ctx of collector.loose) add(sums(pipe), ctx)
  return { places, steps: steps.counts(), generations: generations.counts() }
}

/** Counts keys. Connections of one kind mostly follow one another, and the map is for the others. */
class Tally<Key> {
  readonly #counts = new Map<Key, number>()
  #last: Key | undefined
  #run = 0

  add(key: Key): void {
    if (key === this.#last) {
      this.#run += 1
      return
    }
    this.counts()
    this.#last = key
    this.#run = 1
  }

  counts(): Map<Key, number> {
    if (this.#run > 0)
      this.#counts.set(this.#last!, (this.#counts.get(this.#last!) ?? 0) + this.#run)
    this.#run = 0
    return this.#counts
  }
}
