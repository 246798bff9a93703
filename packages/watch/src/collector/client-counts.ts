/** Counts clients: attempts to connect, connections, and attempts after a loss. */

import type { ClientContext, ConnectionEnd } from 'cio'
import type { Attributes } from '../instruments.ts'
import { placeOfClient } from '../places.ts'
import type { WatchRecord } from '../records.ts'
import { codeLabel } from '../text.ts'
import type { Families } from './families.ts'

export class ClientCounts {
  readonly clients: Set<ClientContext> = new Set()
  readonly #families: Families

  constructor(families: Families) {
    this.#families = families
  }

  began(ctx: ClientContext): void {
    if (this.clients.has(ctx)) return
    this.clients.add(ctx)
    void ctx.closed.then(() => this.clients.delete(ctx))
  }

  reconnects(ctx: ClientContext): void {
    const { key, attributes } = placeOfClient(ctx)
    this.#families.clientReconnects.at(key, () => attributes).value += 1
  }

  /** It has passed `connect`. */
  connected(ctx: ClientContext, record: WatchRecord, seconds: number): void {
    // With several targets, only now is it known which one was chosen.
    record.place = placeOfClient(ctx)
    record.wire = ctx.socket
    record.began = performance.now()
    record.opened = true
    const { key, attributes } = record.place
    this.#families.clientConnect.at(key, () => attributes).record(seconds)
  }

  over({ place, opened }: WatchRecord, { code }: ConnectionEnd, seconds: number): void {
    const { clientDuration, clientConnect } = this.#families
    const error: Attributes = code === undefined ? {} : { 'error.type': codeLabel(code) }
    const family = opened ? clientDuration : clientConnect
    family
      .at(`${place.key} ${error['error.type']}`, () => ({ ...place.attributes, ...error }))
      .record(seconds)
  }
}
