/**
 * Watches apps by a probe, and by events whose listeners do not change the behaviour of an app.
 *
 * At the end of a connection, its facts go into histograms, ring buffers and groups. An open
 * connection has one small record.
 */

import type {
  App,
  AppEvents,
  ClientContext,
  ConnectionContext,
  ConnectionEnd,
  ServerContext,
  StreamContext,
} from 'cio'
import { type ByteCounts, type ProbedCall, bytesOf } from 'cio/kit'
import type { Alarms } from './alarms/alarm.ts'
import { Calls } from './calls.ts'
import { ClientCounts } from './collector/client-counts.ts'
import { closedConnection } from './collector/closed.ts'
import { ConnectionCounts } from './collector/connection-counts.ts'
import { type Families, families, stepAttributes } from './collector/families.ts'
import { Identities } from './collector/identities.ts'
import { EndedRings } from './ended.ts'
import type { Histogram, Place } from './instruments.ts'
import type { CheckedOptions } from './options.ts'
import { Peers } from './peers.ts'
import { pipe, pipelines, placeOfClient, placeOfServer } from './places.ts'
import { type Seen, type WatchRecord, newRecord, settledOf } from './records.ts'
import { Refusals } from './refusals.ts'
import { Way } from './ways.ts'

/** Milliseconds from which a connection is old. */
const keepSteps = 60_000

type Listener<Name extends keyof AppEvents> = (...args: AppEvents[Name]) => void
type Watched = StreamContext & { [record: symbol]: WatchRecord | undefined }

export class Collector {
  readonly since: number = Date.now()
  readonly servers: Set<ServerContext> = new Set()
  /** Servers that `drain` will close after its `delay`; they still accept. */
  readonly stopping: WeakSet<ServerContext> = new WeakSet()
  /** `performance.now()` when descriptors were last short; 0 for never. */
  shortAt = 0
  /** Connections from `app.handle()`. */
  readonly loose: Set<ConnectionContext> = new Set()
  readonly families: Families
  readonly connections: ConnectionCounts
  readonly identities: Identities
  readonly calls: Calls
  readonly ended: EndedRings
  readonly refusals: Refusals
  readonly peers: Peers
  /** Of open connections, while a page or a terminal looks at them. */
  seen: WeakMap<StreamContext, Seen> = new WeakMap()
  readonly options: CheckedOptions
  /** Set by `alarms()`. */
  alarms: Alarms | undefined
  readonly #clients: ClientCounts
  readonly #record = Symbol('cio.watch')
  readonly #ways = { connection: new Way(), client: new Way() }
  readonly #stops: (() => void)[] = []

  constructor(apps: readonly App[], options: CheckedOptions) {
    this.options = options
    this.families = families(options.maxSeries)
    this.connections = new ConnectionCounts(this.families)
    this.#clients = new ClientCounts(this.families)
    this.identities = new Identities(options)
    this.calls = new Calls(this.families)
    this.ended = new EndedRings(options.closed)
    this.refusals = new Refusals(options.refused)
    this.peers = new Peers(options.top)
    for (const app of apps) this.#watch(app)
  }

  stop(): void {
    for (const stop of this.#stops.splice(0)) stop()
  }

  get clients(): readonly ClientContext[] {
    return [...this.#clients.clients.keys()]
  }

  get countsPeers(): boolean {
    return this.options.top > 0
  }

  /** The record of an open connection; undefined if the watch did not see its begin. */
  recordOf(ctx: StreamContext): WatchRecord | undefined {
    return (ctx as Watched)[this.#record]
  }

  /** Drops the steps of a connection that is old, and its record if it has nothing of its own. */
  settle(ctx: ConnectionContext): void {
    const record = this.recordOf(ctx)
    if (!record || record.isShared || performance.now() - ctx.acceptedAt <= keepSteps) return
    if (record.opened) {
      ;(ctx as StreamContext as Watched)[this.#record] = settledOf(record.place)
      return
    }
    record.way = undefined
    record.times = undefined
  }

  /** All open connections, of servers first. */
  *open(): Generator<ConnectionContext> {
    for (const server of this.servers) yield* server.connections
    yield* this.loose
  }

  /** Adds a server that listens, also one that listened before the watch began. */
  addServer(server: ServerContext): void {
    if (this.servers.has(server)) return
    this.servers.add(server)
    const place = placeOfServer(server)
    for (const ctx of server.connections) {
      if (!this.recordOf(ctx)) this.#begin(ctx, place).opened = true
    }
    void server.closed.then(() => {
      this.servers.delete(server)
      // Also 0: a series that is there must stay.
      this.families.dropped.of(place).value += server.dropped
    })
  }

  #watch(app: App): void {
    const probe = app.observe({
      begin: (ctx) => this.#began(ctx),
      end: (ctx, end) => this.#over(ctx, end),
      called: (ctx: StreamContext, call: ProbedCall) => this.calls.add(ctx, call, this.identities),
      ...(this.options.steps && {
        step: (ctx: StreamContext, name: string, duration: number) =>
          this.#passed(ctx, name, duration),
      }),
    })
    const on = <Name extends keyof AppEvents>(name: Name, listener: Listener<Name>): void => {
      app.on(name, listener as never)
      this.#stops.push(() => app.off(name, listener as never))
    }
    on('listening', (server) => this.addServer(server))
    on('secure', (ctx) => this.#secured(ctx))
    on('reconnect', (_, ctx) => this.#clients.reconnects(ctx))
    on('drain', (_, server) => void this.stopping.add(server))
    on('overload', () => void (this.shortAt = performance.now()))
    this.#stops.push(() => probe[Symbol.dispose]())
  }

  #begin(ctx: StreamContext, place: Place): WatchRecord {
    const record = newRecord(place)
    ;(ctx as Watched)[this.#record] = record
    return record
  }

  #began(ctx: StreamContext): void {
    if (ctx.kind === 'client') {
      this.#begin(ctx, placeOfClient(ctx as ClientContext))
      return this.#clients.began(ctx as ClientContext)
    }
    const connection = ctx as ConnectionContext
    this.identities.keepAddress(connection)
    const { server } = connection
    if (server) this.addServer(server)
    else this.loose.add(connection)
    const record = this.recordOf(ctx) ?? this.#begin(ctx, server ? placeOfServer(server) : pipe)
    record.opened = !connection.awaitsHandshake
    this.connections.began(record)
  }

  #secured(ctx: StreamContext): void {
    const record = this.recordOf(ctx)
    // Reads the name now: a closed socket has no certificate.
    void ctx.peer
    if (!record || ctx.kind !== 'connection') return
    this.connections.secured(ctx as ConnectionContext, record)
  }

  #passed(ctx: StreamContext, name: string, duration: number): void {
    const seconds = duration / 1_000
    const record = this.recordOf(ctx)
    const before = record?.way ?? this.#ways[ctx.kind]
    const way = before.after(name) ?? before.extend(name, this.#stepTime(ctx.kind, name))
    // Not the histogram of the path if the path is too long.
    const histogram = way === before ? this.#stepTime(ctx.kind, name) : way.histogram!
    histogram.record(seconds)
    if (!record || record.isShared) return
    if (way !== before) (record.times ??= way.times())[before.length] = Math.round(duration * 1_000)
    record.way = way
    if (name === 'secure' && ctx.kind === 'connection') {
      this.connections.passedSecure(ctx as ConnectionContext, record, seconds)
    } else if (name === 'connect' && ctx.kind === 'client') {
      this.#clients.connected(ctx as ClientContext, record, seconds)
    }
  }

  #secondsOf(ctx: StreamContext): number {
    if (ctx.kind === 'client') return this.#clients.secondsOf(ctx as ClientContext)
    return (performance.now() - (ctx as ConnectionContext).acceptedAt) / 1_000
  }

  #stepTime(kind: 'connection' | 'client', name: string): Histogram {
    return this.families.stepDuration.of(pipelines[kind], name, stepAttributes)
  }

  #over(ctx: StreamContext, end: ConnectionEnd): void {
    const record = this.recordOf(ctx)
    if (!record) return
    ;(ctx as Watched)[this.#record] = undefined
    const seconds = this.#secondsOf(ctx)
    const bytes = bytesOf(ctx)
    if (ctx.kind === 'client') this.#clients.over(record, end, seconds)
    else this.#connectionOver(ctx as ConnectionContext, record, end, seconds, bytes)
    if (this.ended.isOff && !end.refusal) return
    const one = closedConnection(ctx, record, end, seconds, bytes, this.identities)
    if (!this.ended.isOff) this.ended.add(one)
    if (one.refusal && ctx.kind === 'connection') this.refusals.add(one)
  }

  #connectionOver(
    ctx: ConnectionContext,
    record: WatchRecord,
    end: ConnectionEnd,
    seconds: number,
    bytes: ByteCounts,
  ): void {
    if (!ctx.server) this.loose.delete(ctx)
    this.connections.over(ctx, record, end, seconds)
    this.connections.addBytes(record.place, bytes)
    if (!this.countsPeers) return
    this.peers.add(
      this.identities.nameOf(ctx),
      bytes.rx + bytes.tx - (this.seen.get(ctx)?.counted ?? 0),
    )
  }
}
