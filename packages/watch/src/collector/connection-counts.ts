/** Counts connections of servers: opened, refused, ended, their handshakes and bytes. */

import type { ConnectionContext, ConnectionEnd } from 'cio'
import { TLSSocket } from 'node:tls'
import { type Attributes, Histogram } from '../instruments.ts'
import { metrics } from '../metrics.ts'
import { type Bytes, type Place, type WatchRecord, timeInSteps } from '../records.ts'
import { codeLabel } from '../text.ts'
import { type Families, addBytes } from './families.ts'

/** Sums over all servers, for the page. */
export interface Totals {
  accepted: number
  ended: number
  refused: number
  rx: number
  tx: number
  readonly byReason: Map<string, number>
}

export class ConnectionCounts {
  readonly totals: Totals = {
    accepted: 0,
    ended: 0,
    refused: 0,
    rx: 0,
    tx: 0,
    byReason: new Map(),
  }
  /** How many ended in each step of the connection pipeline: by `step reason`. */
  readonly endedAt: Map<string, number> = new Map()
  /** All handshakes of all servers that were done. */
  readonly handshakes: Histogram = new Histogram(metrics.handshake.buckets!)
  readonly #families: Families

  constructor(families: Families) {
    this.#families = families
  }

  began(record: WatchRecord): void {
    this.totals.accepted += 1
    if (record.opened) this.#opened(record.place, {})
  }

  /** Its handshake is done. */
  secured({ socket }: ConnectionContext, record: WatchRecord): void {
    record.opened = true
    if (!(socket instanceof TLSSocket)) return
    this.#opened(record.place, {
      'tls.protocol.version': versionOf(socket),
      'tls.resumed': socket.isSessionReused(),
    })
  }

  /** It has passed `secure`. */
  passedSecure({ socket }: ConnectionContext, { place }: WatchRecord, seconds: number): void {
    if (!(socket instanceof TLSSocket)) return
    const version = versionOf(socket)
    this.#handshake(place, seconds, version, { 'tls.protocol.version': version })
    this.handshakes.record(seconds)
  }

  over(
    ctx: ConnectionContext,
    record: WatchRecord,
    { reason, refusal, code, step }: ConnectionEnd,
    seconds: number,
  ): void {
    const { place } = record
    const error = code === undefined ? undefined : codeLabel(code)
    const more: Attributes = error === undefined ? {} : { 'error.type': error }
    this.#families.duration
      .at(`${place.key} ${reason} ${error}`, () => {
        return { ...place.attributes, 'cio.end.reason': reason, ...more }
      })
      .record(seconds)
    if (!record.opened) this.#opened(place, {})
    if (step === 'secure' && ctx.awaitsHandshake) {
      const own = Math.max(0, seconds - timeInSteps(record) / 1_000)
      this.#handshake(place, own, String(error), more)
    }
    if (refusal) this.#refused(place, refusal.step, refusal.why)
    this.totals.ended += 1
    count(this.totals.byReason, reason)
    count(this.endedAt, `${step} ${reason}`)
  }

  addBytes(place: Place, bytes: Bytes): void {
    this.totals.rx += bytes.rx
    this.totals.tx += bytes.tx
    addBytes(this.#families.io, place, bytes)
  }

  #opened({ key, attributes }: Place, more: Attributes): void {
    const words = Object.values(more).join(' ')
    this.#families.opened.at(`${key} ${words}`, () => ({ ...attributes, ...more })).value += 1
  }

  #handshake({ key, attributes }: Place, seconds: number, word: string, more: Attributes): void {
    this.#families.handshake
      .at(`${key} ${word}`, () => ({ ...attributes, ...more }))
      .record(seconds)
  }

  #refused({ key, attributes }: Place, step: string, why: string): void {
    this.totals.refused += 1
    this.#families.refused.at(`${key} ${step} ${why}`, () => {
      return { ...attributes, 'cio.step.name': step, 'cio.refusal.reason': why }
    }).value += 1
  }
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

function versionOf(socket: TLSSocket): string {
  return socket.getProtocol()?.replace('TLSv', '') ?? 'unknown'
}
