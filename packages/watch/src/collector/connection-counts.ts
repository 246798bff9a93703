/** Counts connections of servers: opened, refused, ended, their handshakes and bytes. */

import type { ConnectionContext, ConnectionEnd } from 'cio'
import { TLSSocket } from 'node:tls'
import { type Attributes, Histogram, type Place } from '../instruments.ts'
import { metrics } from '../metrics.ts'
import type { ByteCounts } from 'cio/kit'
import type { WatchRecord } from '../records.ts'
import { timeInSteps } from '../ways.ts'
import { codeLabel, word } from '../text.ts'
import { type Families, addBytes } from './families.ts'

/** Sums over all servers, for the page. */
export interface Totals {
  accepted: number
  ended: number
  refused: number
  rx: number
  tx: number
}

export class ConnectionCounts {
  readonly totals: Totals = {
    accepted: 0,
    ended: 0,
    refused: 0,
    rx: 0,
    tx: 0,
  }
  /** How many ended in each step of the connection pipeline, by reason. */
  readonly #endedAt = new Map<string, Map<string, number>>()
  /** All handshakes of all servers that were done. */
  readonly handshakes: Histogram = new Histogram(metrics.handshake.buckets!)
  readonly #families: Families

  constructor(families: Families) {
    this.#families = families
  }

  /** How many ended in each step of the connection pipeline: by `step reason`. */
  get endedAt(): Map<string, number> {
    const all = [...this.#endedAt].flatMap(([step, reasons]) => {
      return [...reasons].map(([reason, ended]) => [`${step} ${reason}`, ended] as const)
    })
    return new Map(all)
  }

  /** How many ended in all steps, by reason. */
  get endedFor(): Map<string, number> {
    const sums = new Map<string, number>()
    for (const reasons of this.#endedAt.values()) {
      for (const [reason, ended] of reasons) add(sums, reason, ended)
    }
    return sums
  }

  began(record: WatchRecord): void {
    this.totals.accepted += 1
    if (record.opened) this.#opened(record.place)
  }

  /** Its handshake is done. */
  secured({ socket }: ConnectionContext, record: WatchRecord): void {
    if (record.opened) return
    record.opened = true
    if (!(socket instanceof TLSSocket)) return
    const [version, isResumed] = [versionOf(socket), socket.isSessionReused()]
    this.#opened(record.place, `${version} ${isResumed}`, {
      'tls.protocol.version': version,
      'tls.resumed': isResumed,
    })
  }

  /** It has passed `secure`. */
  passedSecure(ctx: ConnectionContext, { place }: WatchRecord, seconds: number): void {
    const { socket, tlsSkipped } = ctx
    // After startTls the step does nothing.
    if (tlsSkipped || !(socket instanceof TLSSocket)) return
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
    const series = error === undefined ? reason : `${reason} ${error}`
    this.#families.duration.of(place, series, endAttributes).record(seconds)
    if (!record.opened) this.#opened(place)
    if (step === 'secure' && ctx.awaitsHandshake) {
      const own = Math.max(0, seconds - timeInSteps(record) / 1_000)
      this.#handshake(place, own, String(error), error === undefined ? {} : { 'error.type': error })
    }
    if (refusal) this.#refused(place, word(refusal.step), word(refusal.why))
    this.totals.ended += 1
    let atStep = this.#endedAt.get(step)
    if (!atStep) this.#endedAt.set(step, (atStep = new Map()))
    add(atStep, reason, 1)
  }

  addBytes(place: Place, bytes: ByteCounts): void {
    this.totals.rx += bytes.rx
    this.totals.tx += bytes.tx
    addBytes(this.#families.io, place, bytes)
  }

  #opened(place: Place, word = '', more?: Attributes): void {
    this.#families.opened.of(place, word, more && (() => more)).value += 1
  }

  #handshake(place: Place, seconds: number, word: string, more: Attributes): void {
    this.#families.handshake.of(place, word, () => more).record(seconds)
  }

  #refused(place: Place, step: string, why: string): void {
    this.totals.refused += 1
    this.#families.refused.of(place, `${step} ${why}`, () => {
      return { 'cio.step.name': step, 'cio.refusal.reason': why }
    }).value += 1
  }
}

/** Of a reason, perhaps with the code of its error. */
function endAttributes(series: string): Attributes {
  const [reason, error] = series.split(' ') as [string, string?]
  return error === undefined
    ? { 'cio.end.reason': reason }
    : { 'cio.end.reason': reason, 'error.type': error }
}

function add(counts: Map<string, number>, key: string, more: number): void {
  counts.set(key, (counts.get(key) ?? 0) + more)
}

function versionOf(socket: TLSSocket): string {
  return socket.getProtocol()?.replace('TLSv', '') ?? 'unknown'
}
