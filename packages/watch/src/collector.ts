/**
 * Counts what happens on the apps that are watched: a probe, and events that change nothing for an app
 * that has no listener of its own.
 *
 * All that is known at an end is folded into histograms, rings and groups there; an open connection has
 * one small record.
 */

import type {
  App,
  ClientContext,
  ConnectionContext,
  ConnectionEnd,
  Refusal,
  ServerContext,
  StreamContext,
} from 'cio'
import { asError, reportError } from 'cio/kit'
import { TLSSocket } from 'node:tls'
import { type ClosedConnection, EndedRings } from './ended.ts'
import { Counter, Family, Histogram, type Attributes } from './instruments.ts'
import { type MetricKey, metrics } from './metrics.ts'
import type { CheckedOptions } from './options.ts'
import { Peers } from './peers.ts'
import { pipe, placeOfClient, placeOfServer } from './places.ts'
import {
  type Place,
  type WatchRecord,
  addStep,
  bytesOf,
  passedSteps,
  timeInSteps,
} from './records.ts'
import { Refusals } from './refusals.ts'
import { clean, codeLabel, networkOf } from './text.ts'

/** The families that grow as things happen; gauges are read at the moment. */
interface Families {
  readonly opened: Family<Counter>
  readonly duration: Family<Histogram>
  readonly refused: Family<Counter>
  readonly dropped: Family<Counter>
  readonly io: Family<Counter>
  readonly stepDuration: Family<Histogram>
  readonly handshake: Family<Histogram>
  readonly clientConnect: Family<Histogram>
  readonly clientDuration: Family<Histogram>
  readonly clientReconnects: Family<Counter>
}

function families(most: number): Families {
  const counter = (key: MetricKey): Family<Counter> =>
    new Family(metrics[key], most, () => new Counter())
  const histogram = (key: MetricKey): Family<Histogram> =>
    new Family(metrics[key], most, () => new Histogram(metrics[key].buckets!))
  return {
    opened: counter('opened'),
    duration: histogram('duration'),
    refused: counter('refused'),
    dropped: counter('dropped'),
    io: counter('io'),
    stepDuration: histogram('stepDuration'),
    handshake: histogram('handshake'),
    clientConnect: histogram('clientConnect'),
    clientDuration: histogram('clientDuration'),
    clientReconnects: counter('clientReconnects'),
  }
}

/** Sums over all servers, for the page. */
export interface Totals {
  accepted: number
  ended: number
  refused: number
  rx: number
  tx: number
  readonly byReason: Map<string, number>
}

type Watched = StreamContext & { [record: symbol]: WatchRecord | undefined }

export class Collector {
  readonly since: number = Date.now()
  readonly servers: Set<ServerContext> = new Set()
  readonly clients: Set<ClientContext> = new Set()
  /** Connections that came by `app.handle()`. */
  readonly loose: Set<ConnectionContext> = new Set()
  readonly families: Families
  readonly ended: EndedRings
  readonly refusals: Refusals
  readonly peers: Peers
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
  readonly #options: CheckedOptions
  readonly #record = Symbol('cio.watch')
  #hasFailed = false
  readonly #stops: (() => void)[] = []

  constructor(apps: readonly App[], options: CheckedOptions) {
    this.#options = options
    this.families = families(options.maxSeries)
    this.ended = new EndedRings(options.closed)
    this.refusals = new Refusals(options.refused)
    this.peers = new Peers(options.top)
    for (const app of apps) this.#watch(app)
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop()
  }

  get countsPeers(): boolean {
    return this.#options.top > 0
  }

  /** The record of an open connection; undefined for a context that it never saw begin. */
  recordOf(ctx: StreamContext): WatchRecord | undefined {
    return (ctx as Watched)[this.#record]
  }

  /** All open connections, of servers first. */
  *open(): Generator<ConnectionContext> {
    for (const server of this.servers) yield* server.connections
    yield* this.loose
  }

  /** The name of a verified peer by the option `peer`. */
  nameOf(ctx: StreamContext): string | undefined {
    const { peer } = ctx
    if (!peer) return undefined
    try {
      const name = this.#options.peer(peer, ctx)
      // That is the name of all others together.
      return name === undefined || name === '_OTHER' ? undefined : clean(name)
    } catch (thrown) {
      // Once: it is asked for each connection, and again with each look.
      if (!this.#hasFailed) reportError(ctx.app, asError(thrown), ctx)
      this.#hasFailed = true
      return undefined
    }
  }

  /** An address, as much of it as the options keep. */
  addressOf(ctx: StreamContext): string | null {
    const { address: kept } = this.#options
    if (kept === 'none') return null
    const { address } = ctx
    if (address === null) return null
    return kept === 'network' ? networkOf(address) : address
  }

  #watch(app: App): void {
    const probe = app.observe({
      begin: (ctx) => this.#began(ctx),
      end: (ctx, end) => this.#over(ctx, end),
      ...(this.#options.steps && {
        step: (ctx: StreamContext, name: string, duration: number) =>
          this.#passed(ctx, name, duration),
      }),
    })
    const listening = (server: ServerContext): void => this.addServer(server)
    const secure = (ctx: StreamContext): void => this.#secured(ctx)
    const reconnect = (_: unknown, ctx: StreamContext): void => {
      const { key, attributes } = placeOfClient(ctx as ClientContext)
      this.families.clientReconnects.at(key, () => attributes).value += 1
    }
    app.on('listening', listening).on('secure', secure).on('reconnect', reconnect)
    this.#stops.push(() => {
      probe[Symbol.dispose]()
      app.off('listening', listening).off('secure', secure).off('reconnect', reconnect)
    })
  }

  /** A server that listens, also one that did before the watch began. */
  addServer(server: ServerContext): void {
    if (this.servers.has(server)) return
    this.servers.add(server)
    const place = placeOfServer(server)
    for (const ctx of server.connections) {
      if (this.recordOf(ctx)) continue
      const record = this.#begin(ctx, place)
      record.opened = true
    }
    void server.closed.then(() => {
      this.servers.delete(server)
      const { key, attributes } = place
      if (server.dropped > 0) {
        this.families.dropped.at(key, () => attributes).value += server.dropped
      }
    })
  }

  #begin(ctx: StreamContext, place: Place): WatchRecord {
    const record: WatchRecord = {
      began: performance.now(),
      place,
      wire: ctx.socket,
      steps: undefined,
      opened: false,
      seen: undefined,
    }
    ;(ctx as Watched)[this.#record] = record
    return record
  }

  #began(ctx: StreamContext): void {
    // Node keeps the address that was asked for once; at the end it is too late.
    if (this.#options.address !== 'none') void ctx.socket?.remoteAddress
    if (ctx.kind === 'client') return this.#clientBegan(ctx as ClientContext)
    const connection = ctx as ConnectionContext
    const { server } = connection
    if (server) this.addServer(server)
    else this.loose.add(connection)
    const record = this.recordOf(ctx) ?? this.#begin(ctx, server ? placeOfServer(server) : pipe)
    record.opened = !connection.awaitsHandshake
    this.totals.accepted += 1
    if (record.opened) this.#opened(record.place, {})
  }

  #clientBegan(ctx: ClientContext): void {
    this.#begin(ctx, placeOfClient(ctx))
    if (this.clients.has(ctx)) return
    this.clients.add(ctx)
    void ctx.closed.then(() => this.clients.delete(ctx))
  }

  #opened({ key, attributes }: Place, more: Attributes): void {
    const words = Object.values(more).join(' ')
    this.families.opened.at(`${key} ${words}`, () => ({ ...attributes, ...more })).value += 1
  }

  #secured(ctx: StreamContext): void {
    const record = this.recordOf(ctx)
    // The name is asked for now: a socket that is closed has no certificate.
    void ctx.peer
    if (!record || record.opened || ctx.kind !== 'connection') return
    record.opened = true
    const { socket } = ctx
    if (!(socket instanceof TLSSocket)) return
    this.#opened(record.place, {
      'tls.protocol.version': versionOf(socket),
      'tls.resumed': socket.isSessionReused(),
    })
  }

  #passed(ctx: StreamContext, name: string, duration: number): void {
    const { kind } = ctx
    const seconds = duration / 1_000
    this.families.stepDuration
      .at(`${kind} ${name}`, () => ({ 'cio.pipeline': kind, 'cio.step.name': name }))
      .record(seconds)
    const record = this.recordOf(ctx)
    if (!record) return
    addStep(record, name, duration)
    if (kind === 'client') return this.#clientPassed(ctx as ClientContext, record, name, seconds)
    if (name !== 'secure' || !(ctx.socket instanceof TLSSocket)) return
    const version = versionOf(ctx.socket)
    this.#handshake(record.place, seconds, version, { 'tls.protocol.version': version })
    this.handshakes.record(seconds)
  }

  #handshake({ key, attributes }: Place, seconds: number, word: string, more: Attributes): void {
    this.families.handshake.at(`${key} ${word}`, () => ({ ...attributes, ...more })).record(seconds)
  }

  #clientPassed(ctx: ClientContext, record: WatchRecord, name: string, seconds: number): void {
    if (name !== 'connect') return
    // Of several targets it is known only now which one it is.
    record.place = placeOfClient(ctx)
    record.wire = ctx.socket
    record.began = performance.now()
    record.opened = true
    const { key, attributes } = record.place
    this.families.clientConnect.at(key, () => attributes).record(seconds)
  }

  #over(ctx: StreamContext, end: ConnectionEnd): void {
    const record = this.recordOf(ctx)
    if (!record) return
    ;(ctx as Watched)[this.#record] = undefined
    const seconds = (performance.now() - record.began) / 1_000
    if (ctx.kind === 'client') this.#clientOver(record, end, seconds)
    else this.#connectionOver(ctx as ConnectionContext, record, end, seconds)
    if (!this.ended.isOff || end.refusal) this.#keep(ctx, record, end, seconds)
  }

  #clientOver({ place, opened }: WatchRecord, { code }: ConnectionEnd, seconds: number): void {
    const { clientDuration, clientConnect } = this.families
    const error: Attributes = code === undefined ? {} : { 'error.type': codeLabel(code) }
    const family = opened ? clientDuration : clientConnect
    family
      .at(`${place.key} ${error['error.type']}`, () => ({ ...place.attributes, ...error }))
      .record(seconds)
  }

  #connectionOver(
    ctx: ConnectionContext,
    record: WatchRecord,
    end: ConnectionEnd,
    seconds: number,
  ): void {
    const { place } = record
    const { key, attributes } = place
    const { reason, refusal } = end
    this.loose.delete(ctx)
    const error: Attributes = end.code === undefined ? {} : { 'error.type': codeLabel(end.code) }
    this.families.duration
      .at(`${key} ${reason} ${error['error.type']}`, () => {
        return { ...attributes, 'cio.end.reason': reason, ...error }
      })
      .record(seconds)
    if (!record.opened) this.#opened(place, {})
    if (end.step === 'secure' && ctx.awaitsHandshake) {
      const own = Math.max(0, seconds - timeInSteps(record) / 1_000)
      this.#handshake(place, own, String(error['error.type']), error)
    }
    if (refusal) this.#refused(place, refusal.step, refusal.why)
    this.#addBytes(ctx, record)
    this.totals.ended += 1
    const { byReason } = this.totals
    byReason.set(reason, (byReason.get(reason) ?? 0) + 1)
    const at = `${end.step} ${reason}`
    this.endedAt.set(at, (this.endedAt.get(at) ?? 0) + 1)
  }

  #refused({ key, attributes }: Place, step: string, why: string): void {
    this.totals.refused += 1
    this.families.refused.at(`${key} ${step} ${why}`, () => {
      return { ...attributes, 'cio.step.name': step, 'cio.refusal.reason': why }
    }).value += 1
  }

  #addBytes(ctx: ConnectionContext, { place, wire, seen }: WatchRecord): void {
    const { rx, tx, wireRx, wireTx } = bytesOf(ctx.socket, wire)
    this.totals.rx += rx
    this.totals.tx += tx
    addBytes(this.families.io, place, { rx, tx, wireRx, wireTx })
    if (this.#options.top > 0) this.peers.add(this.nameOf(ctx), rx + tx - (seen?.counted ?? 0))
  }

  #keep(ctx: StreamContext, record: WatchRecord, end: ConnectionEnd, seconds: number): void {
    const one = this.#closed(ctx, record, end, seconds)
    if (!this.ended.isOff) this.ended.add(one)
    if (one.refusal && ctx.kind === 'connection') this.refusals.add(one)
  }

  #closed(
    ctx: StreamContext,
    record: WatchRecord,
    { reason, by, step, why, code, error, refusal }: ConnectionEnd,
    duration: number,
  ): ClosedConnection {
    const { peer: claim, ...refused } = refusal ?? {}
    const { rx, tx } = bytesOf(ctx.socket, record.wire)
    const isAnonymous = claim?.name == null || claim.verified
    return {
      id: ctx.id,
      kind: ctx.kind,
      reason,
      by,
      step,
      why,
      code: code === undefined ? undefined : clean(code, 64),
      message: error && clean(error.message),
      refusal: refusal && { ...(refused as Omit<Refusal, 'peer'>), why: clean(refusal.why, 64) },
      peer: this.nameOf(ctx) ?? null,
      claimed: isAnonymous ? null : clean(claim.name),
      address: this.addressOf(ctx),
      place: record.place.key,
      ended: Date.now(),
      duration,
      rx,
      tx,
      generation: ctx.generation,
      steps: passedSteps(record),
    }
  }
}

/** Adds to the four sums of a place. */
export function addBytes(
  io: Family<Counter>,
  { key, attributes }: Place,
  { rx, tx, wireRx, wireTx }: ReturnType<typeof bytesOf>,
): void {
  const add = (direction: string, layer: string, bytes: number): void => {
    if (bytes === 0) return
    io.at(`${key} ${direction} ${layer}`, () => {
      return { ...attributes, 'network.io.direction': direction, 'cio.io.layer': layer }
    }).value += bytes
  }
  add('receive', 'wire', wireRx)
  add('transmit', 'wire', wireTx)
  add('receive', 'plain', rx)
  add('transmit', 'plain', tx)
}

function versionOf(socket: TLSSocket): string {
  return socket.getProtocol()?.replace('TLSv', '') ?? 'unknown'
}
