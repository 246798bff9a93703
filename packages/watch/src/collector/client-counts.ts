/** Counts clients: attempts to connect, connections, and attempts after a loss. */

import type { ClientContext, ConnectionEnd } from 'cio'
import type { Attributes } from '../instruments.ts'
import { placeOfClient } from '../places.ts'
import type { WatchRecord } from '../records.ts'
import { codeLabel } from '../text.ts'
import type { Families } from './families.ts'

export class ClientCounts {
  /** With `performance.now()` at the begin of the connection, or of the attempt to make one. */
  readonly clients: Map<ClientContext, number> = new Map()
  readonly #families: Families

  constructor(families: Families) {
    this.#families = families
  }

  began(ctx: ClientContext): void {
    const isKnown = this.clients.has(ctx)
    this.clients.set(ctx, performance.now())
    if (isKnown) return
    void ctx.closed.then(() => this.clients.delete(ctx))
  }

  reconnects(ctx: ClientContext): void {
    this.#families.clientReconnects.of(placeOfClient(ctx)).value += 1
  }

  /** Seconds since its connection, or its attempt to make one, began. */
  secondsOf(ctx: ClientContext): number {
    const now = performance.now()
    return (now - (this.clients.get(ctx) ?? now)) / 1_000
  }

  /** It has passed `connect`. */
  connected(ctx: ClientContext, record: WatchRecord, seconds: number): void {
    // With several targets, only now is it known which one was chosen.
    record.place = placeOfClient(ctx)
    record.opened = true
    this.clients.set(ctx, performance.now())
    this.#families.clientConnect.of(record.place).record(seconds)
  }

  over({ place, opened }: WatchRecord, { code }: ConnectionEnd, seconds: number): void {
    const { clientDuration, clientConnect } = this.#families
    const error: Attributes = code === undefined ? {} : { 'error.type': codeLabel(code) }
    const family = opened ? clientDuration : clientConnect
    family
      .of(place, code === undefined ? '' : String(error['error.type']), () => error)
      .record(seconds)
  }
}
