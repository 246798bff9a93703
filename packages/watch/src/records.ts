/** The record of one connection, besides its context. */

import type { Socket } from 'node:net'
import type { ConnectionContext, StreamContext } from 'cio'
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
  /** The socket beneath TLS: its bytes are those on the wire. */
  wire: Socket | null
  /** The bytes before a TLS that a middleware began, and its handshake: they counted as plain. */
  before: Pick<Bytes, 'rx' | 'tx'> | undefined
  /** The steps that it has passed, and the microseconds of each. Dropped when it is old. */
  way: Way | undefined
  times: number[] | undefined
  /** Whether it is among the opened. */
  opened: boolean
  /** Whether others have the same record, so that it must not change. */
  readonly isShared: boolean
}

/** The record of a connection that begins, over this socket. */
export function newRecord(place: Place, wire: Socket | null): WatchRecord {
  return {
    place,
    wire,
    before: undefined,
    way: undefined,
    times: undefined,
    opened: false,
    isShared: false,
  }
}

const settled = new WeakMap<Place, WatchRecord>()

/** The record that all old connections without TLS of one place share: they have nothing of their own. */
export function settledOf(place: Place): WatchRecord {
  const known = settled.get(place)
  if (known) return known
  const made = { ...newRecord(place, null), opened: true, isShared: true }
  settled.set(place, Object.freeze(made))
  return made
}

/** Whether a connection is, or may still become, one with TLS. */
export function mayGetTls({ encrypted, app }: ConnectionContext): boolean {
  return encrypted || app.pipelines.connection.has('startTls')
}

/** Bytes of a connection: plain ones, and those on the wire. */
export interface Bytes {
  readonly rx: number
  readonly tx: number
  readonly wireRx: number
  readonly wireTx: number
}

const none: Bytes = { rx: 0, tx: 0, wireRx: 0, wireTx: 0 }

/** The counts of Node; also after the end. */
export function countsOf({ bytesRead: rx, bytesWritten: tx }: Socket): Pick<Bytes, 'rx' | 'tx'> {
  return { rx, tx }
}

/**
 * The bytes of a connection; also after its end. A handshake is on the wire alone, so that the
 * plain bytes of a connection never fall: the count of a TLS socket begins at 0.
 */
export function bytesOf(ctx: StreamContext, record: WatchRecord | undefined): Bytes {
  const { socket } = ctx
  if (!socket) return none
  const { rx, tx } = countsOf(socket)
  const wire = record?.wire
  if (wire && wire !== socket) {
    const { rx: rxBefore, tx: txBefore } = record.before ?? none
    const plain = { rx: rx + rxBefore, tx: tx + txBefore }
    return { ...plain, wireRx: wire.bytesRead, wireTx: wire.bytesWritten }
  }
  if (ctx.kind === 'connection' && (ctx as ConnectionContext).awaitsHandshake) {
    return { rx: 0, tx: 0, wireRx: rx, wireTx: tx }
  }
  return { rx, tx, wireRx: rx, wireTx: tx }
}
