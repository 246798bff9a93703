/** The record of one connection, besides its context. */

import type { Place } from './instruments.ts'
import type { Way } from './ways.ts'

/** Figures that need a look at the open connections. */
export interface Seen {
  /** Plain bytes at the last look. */
  rx: number
  tx: number
  /** Bytes a second between the last two looks. */
  rate: number
  /** `performance.now()` at the last look, and when bytes last moved, as far as was looked. */
  at: number
  moved: number
  /** How many of its bytes are counted for its peer. */
  counted: number
}

/** A connection from its begin to its end, or many that are alike: see `settledOf`. */
export interface WatchRecord {
  place: Place
  /** The steps that it has passed, and the microseconds of each. Dropped when it is old. */
  way: Way | undefined
  times: number[] | undefined
  /** Whether it is among the opened. */
  opened: boolean
  /** Whether others have the same record, so that it must not change. */
  readonly isShared: boolean
}

/** The record of a connection that begins. */
export function newRecord(place: Place): WatchRecord {
  return {
    place,
    way: undefined,
    times: undefined,
    opened: false,
    isShared: false,
  }
}

const settled = new WeakMap<Place, WatchRecord>()

/** The record that all old connections of one place share: they have nothing of their own. */
export function settledOf(place: Place): WatchRecord {
  const known = settled.get(place)
  if (known) return known
  const made = { ...newRecord(place), opened: true, isShared: true }
  settled.set(place, Object.freeze(made))
  return made
}
