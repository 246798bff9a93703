import type { ClientContext } from '../../src/client/client.ts'
import type { ConnectionEnd } from '../../src/connection-end.ts'
import type { App } from '../../src/lifecycle/app.ts'
import type { ConnectionContext } from '../../src/lifecycle/connection.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { ServerContext } from '../../src/server/server.ts'
import { type Facts, addEnd, addFacts, factsOf, noteHandshake } from './attributes.ts'
import { Flood, type Suppressed } from './flood.ts'
import type { Attributes } from './json-line.ts'
import { type Settings, levelOf } from './settings.ts'
import { type Sink, sinkOf, writeLine } from './sink.ts'

/** Number of checks within an interval. */
const checks = 4
/** Maximum milliseconds between two checks. */
const longestCheck = 60_000

/** The counts of {@link log}. */
export interface LogCounts {
  /** Lines above `rate`, by the reason of the end; `open` for connections that were still open. */
  readonly suppressed: Readonly<Record<string, number>>
  /** Lines that were dropped because the reader was too slow, or the stream has failed. */
  readonly dropped: number
}

type Logged = StreamContext & { [facts: symbol]: Facts | undefined }

/** Writes the lines of the servers and clients that use one `log()`. */
export class ConnectionLog {
  readonly #settings: Settings
  readonly #sink: Sink
  readonly #flood: Flood
  /** The key of a context for its facts: a `WeakMap` is slower, and costs the collector more. */
  readonly #facts = Symbol('cio.log')
  readonly #ports = new WeakMap<ServerContext, number>()
  readonly #users = new Set<ServerContext | ClientContext>()
  readonly #apps = new Map<App, { count: number; readonly stop: () => void }>()
  #timer: NodeJS.Timeout | undefined

  constructor(settings: Settings) {
    this.#settings = settings
    this.#sink = sinkOf(settings.to, settings.maxBuffer)
    this.#flood = new Flood(settings.rate, (suppressed) => this.#sumUp(suppressed))
  }

  /** Lines that were not written so far. */
  get counts(): LogCounts {
    return { suppressed: { ...this.#flood.totals }, dropped: this.#sink.dropped() }
  }

  /** Logs the connections of a server, or of a client, until the returned function is called. */
  begin(user: ServerContext | ClientContext): () => void {
    this.#users.add(user)
    this.#watch(user.app)
    if (this.#users.size === 1) process.once('exit', this.#sink.flushSync)
    this.#startTimer()
    return () => {
      this.#unwatch(user.app)
      if (this.#users.size === 1) this.#finish()
      this.#users.delete(user)
    }
  }

  /** The end of the last server or client. */
  #finish(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#flood.sumUp()
    process.off('exit', this.#sink.flushSync)
    // Not `flushSync`: that blocks if standard output is a full pipe.
    this.#sink.flush()
  }

  #watch(app: App): void {
    const known = this.#apps.get(app)
    if (known) {
      known.count += 1
      return
    }
    const observation = app.observe({
      begin: (ctx) => {
        if (!this.#isOurs(ctx)) return
        ;(ctx as Logged)[this.#facts] = factsOf(ctx, this.#portOf(ctx), this.#settings)
      },
      end: (ctx, end) => {
        const facts = (ctx as Logged)[this.#facts]
        if (facts) this.#ended(ctx, facts, end)
      },
    })
    const secured = (ctx: StreamContext): void => {
      const facts = (ctx as Logged)[this.#facts]
      if (facts) noteHandshake(facts, ctx, this.#settings)
    }
    app.on('secure', secured)
    const stop = (): void => {
      observation[Symbol.dispose]()
      app.off('secure', secured)
    }
    this.#apps.set(app, { count: 1, stop })
  }

  #unwatch(app: App): void {
    const known = this.#apps.get(app)!
    known.count -= 1
    if (known.count > 0) return
    known.stop()
    this.#apps.delete(app)
  }

  #isOurs(ctx: StreamContext): boolean {
    const user = ctx.kind === 'client' ? ctx : (ctx as ConnectionContext).server
    return this.#users.has(user as ServerContext | ClientContext)
  }

  /** Read once for each server: it is a system call, and a closed server has no port. */
  #portOf(ctx: StreamContext): number {
    if (ctx.kind === 'client') return 0
    const server = (ctx as ConnectionContext).server!
    const port = this.#ports.get(server) ?? server.port
    this.#ports.set(server, port)
    return port
  }

  #ended(ctx: StreamContext, facts: Facts, end: ConnectionEnd): void {
    const { reason } = end
    const { ordinary: share, healthChecks } = this.#settings
    const level = levelOf(reason)
    if (reason === 'nothing_said' && !healthChecks) return
    if (level === 'info' && share < 1 && Math.random() >= share) return
    const now = performance.now()
    if (!this.#flood.admits(reason, now)) return
    const record: Attributes = { 'event.name': 'cio.connection.end' }
    addFacts(record, ctx, facts, this.#settings, now)
    addEnd(record, end, this.#settings)
    if (level === 'info' && share < 1) record['cio.log.share'] = share
    writeLine(this.#sink, ctx, level, record, `${reason}@${end.step}`)
  }

  #startTimer(): void {
    const { openInterval } = this.#settings
    if (this.#timer || openInterval === Infinity) return
    const period = Math.min(openInterval / checks, longestCheck)
    this.#timer = setInterval(() => this.#walk(), period).unref()
  }

  /** Writes a line for each connection that has been open for the interval since its last one. */
  #walk(): void {
    const now = performance.now()
    for (const user of this.#users) {
      const open: Iterable<StreamContext> = user.kind === 'server' ? user.connections : [user]
      for (const ctx of open) {
        const facts = (ctx as Logged)[this.#facts]
        if (!facts || ctx.isClosed || now - facts.lastLine < this.#settings.openInterval) continue
        facts.lastLine = now
        if (!this.#flood.admits('open', now)) continue
        const own: Attributes = { 'event.name': 'cio.connection.open', 'cio.step.name': ctx.step }
        addFacts(own, ctx, facts, this.#settings, now)
        writeLine(this.#sink, ctx, 'info', own, `open@${ctx.step}`)
      }
    }
  }

  #sumUp({ reason, count, first, last }: Suppressed): void {
    const record = {
      'event.name': 'cio.log.suppressed',
      'cio.end.reason': reason,
      count,
      first: new Date(first).toISOString(),
      last: new Date(last).toISOString(),
    }
    const [user] = this.#users
    writeLine(this.#sink, user!, 'warn', record, `${count} more ended for ${reason}`)
  }
}
