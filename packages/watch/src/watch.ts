/** `watch(app)`: counts what happens on an app, and answers questions about it. */

import type { X509Certificate } from 'node:crypto'
import type { AdmissionOptions, App, Cio, EndReason, ListenOptions, ServerContext } from 'cio'
import { checkCount, checkFlag, checkFunction, checkOptionNames, optionError } from 'cio/kit'
import manifest from '../package.json' with { type: 'json' }
import { type ServerAdmission, admissions } from './admissions.ts'
import { Collector } from './collector.ts'
import type { ClosedConnection } from './ended.ts'
import { type Explanation, type Subject, checkSubject, explain } from './explain.ts'
import { type Generation, Generations } from './generations.ts'
import { readMetrics } from './gauges.ts'
import type { Table } from './history.ts'
import { Looker } from './looker.ts'
import { LoopMeter } from './loop.ts'
import { type CollectionResult, toCollection } from './open-telemetry.ts'
import { type WatchOptions, checkedOptions } from './options.ts'
import { metrics } from './metrics.ts'
import { type WatchServer, listen } from './page/listen.ts'
import type { WatchListenOptions } from './page/options.ts'
import { toText } from './prometheus.ts'
import type { RefusalGroup } from './refusals.ts'
import {
  type ConnectionDetail,
  type ConnectionPage,
  type ConnectionQuery,
  connectionDetail,
  connectionPage,
} from './rows.ts'
import { type Snapshot, snapshot } from './snapshot.ts'
import { checkText } from './text.ts'

/** Options of `metrics()`. */
export interface MetricsOptions {
  /**
   * Whether to name peers, in `cio.peer.io`.
   *
   * @default true
   */
  readonly names?: boolean
}

/** The servers and clients of one or more apps, watched. */
export interface Watch extends Disposable {
  /** The metrics in the text format of Prometheus, version 0.0.4. */
  metrics(options?: MetricsOptions): string
  /**
   * A `MetricProducer` of OpenTelemetry's SDK:
   * `new PeriodicExportingMetricReader({ exporter, metricProducers: [watching.producer] })`.
   */
  readonly producer: { collect(): Promise<CollectionResult> }
  /** The overview that the page shows. */
  snapshot(): Snapshot
  /** Open connections, sorted and filtered. */
  connections(query?: ConnectionQuery): ConnectionPage
  /** All data of one open connection; undefined if there is none with that id. */
  connection(id: number): ConnectionDetail | undefined
  /** Ended connections, the newest first. */
  closed(query?: {
    readonly reason?: EndReason
    readonly limit?: number
  }): readonly ClosedConnection[]
  /** Groups of refusals, the newest first. */
  refused(): readonly RefusalGroup[]
  /**
   * Explains one connection, by an id, a name or an address: the newest open one, or otherwise the
   * last that ended. Undefined if there is none.
   */
  explain(subject: Subject): Explanation | undefined
  /**
   * Whether each server would admit a certificate now, by its trust store and its lists, and which
   * step would refuse it: see `server.wouldAdmit()` of Cio. The texts are cut and escaped.
   */
  wouldAdmit(certificate: X509Certificate, options?: AdmissionOptions): Promise<ServerAdmission[]>
  /** Changes of the pipelines, the oldest first. */
  readonly generations: readonly Generation[]
  /**
   * Figures over time: five minutes by the second, while a page is open, or a day by the minute.
   */
  history(of: 'seconds' | 'minutes'): Table
  /**
   * Looks at all open connections once a second, for rates and figures of the last minute, and calls
   * `tick` after each look. The result ends it.
   */
  look(tick?: () => void): () => void
  /** The servers that listen. */
  readonly servers: ReadonlySet<ServerContext>
  /**
   * Serves the live page, with `/metrics`, `/livez` and `/readyz`, on loopback or a Unix socket; anywhere
   * else only to verified peers. `url` of the result is the address to open. It closes by itself after
   * `drain` has closed the last server.
   *
   * @param target A port of loopback, the path of a Unix socket, or options as for `app.listen()`.
   * @throws `ERR_CIO_OPTION`: an option is unknown or wrong, or the address is not local and `ca` is missing
   */
  listen(
    target?: number | string | ListenOptions,
    options?: WatchListenOptions,
  ): Promise<WatchServer>
}

const appsOfWatch = new WeakMap<Watch, readonly App[]>()

const collectors = new WeakMap<Watch, Collector>()

/** The collector of a watch. */
export function collectorOf(watching: Watch): Collector {
  const collector = collectors.get(watching)
  if (!collector) throw optionError('alarms', 'watching', 'the result of watch()', watching)
  return collector
}

/** The apps of a watch. */
export function appsOf(watching: Watch): readonly App[] {
  return appsOfWatch.get(watching) ?? []
}

/**
 * Watches apps: counts, measures, and remembers why connections ended. Call it before `listen()`.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range
 *
 * @example
 * import { Cio } from 'cio'
 * import { watch } from '@cio/watch'
 *
 * const app = new Cio().useConnection(async ({ stream }) => void stream.end('hello\n'))
 * const watching = watch(app)
 * const server = await app.listen(0)
 * console.log(watching.metrics())
 * await server.close()
 */
export function watch<Connection extends object, Client extends object, Server extends object>(
  app: Cio<Connection, Client, Server> | readonly Cio<Connection, Client, Server>[],
  options: WatchOptions = {},
): Watch {
  const apps = (Array.isArray(app) ? app : [app]) as readonly App[]
  if (apps.length === 0) throw optionError('watch', 'app', 'a Cio, or a list of one or more', app)
  for (const one of apps) {
    if (typeof one?.observe !== 'function') throw optionError('watch', 'app', 'a Cio', one)
  }
  return new Watching(apps, options)
}

class Watching implements Watch {
  readonly producer: Watch['producer'] = {
    collect: () =>
      Promise.resolve(toCollection(this.#read(), this.#collector.since, manifest.version)),
  }
  readonly #apps: readonly App[]
  readonly #collector: Collector
  readonly #generations: Generations
  readonly #loop: LoopMeter | undefined
  readonly #most: number
  readonly #looker: Looker
  readonly #stopLooking: (() => void) | undefined

  constructor(apps: readonly App[], given: WatchOptions) {
    const options = checkedOptions(given)
    this.#apps = apps
    appsOfWatch.set(this, apps)
    this.#most = options.maxSeries
    this.#generations = new Generations(apps)
    this.#loop = options.runtime ? new LoopMeter() : undefined
    this.#collector = new Collector(apps, options)
    collectors.set(this, this.#collector)
    this.#looker = new Looker(this.#collector, this.#loop)
    if (options.top > 0) this.#stopLooking = this.look()
  }

  get servers(): ReadonlySet<ServerContext> {
    return this.#collector.servers
  }

  get generations(): readonly Generation[] {
    this.#generations.check()
    return this.#generations.list
  }

  metrics(options: MetricsOptions = {}): string {
    checkOptionNames('metrics', options, ['names'])
    const { names = true } = options
    checkFlag('metrics', 'names', names)
    const all = this.#read()
    return toText(names ? all : all.filter(({ metric }) => metric !== metrics.peerIo))
  }

  listen(
    target?: number | string | ListenOptions,
    options?: WatchListenOptions,
  ): Promise<WatchServer> {
    return listen(this, target, options)
  }

  snapshot(): Snapshot {
    return snapshot(this.#apps, this.#collector, this.#looker, this.#generations)
  }

  connections(query: ConnectionQuery = {}): ConnectionPage {
    return connectionPage(this.#collector, query)
  }

  connection(id: number): ConnectionDetail | undefined {
    if (typeof id !== 'number') throw optionError('connection', 'id', 'a number', id)
    return connectionDetail(this.#collector, id)
  }

  closed(query: Parameters<Watch['closed']>[0] = {}): ClosedConnection[] {
    checkOptionNames('closed', query, ['reason', 'limit'])
    const { reason, limit = 100 } = query
    checkText('closed', 'reason', reason)
    checkCount('closed', 'limit', limit)
    return this.#collector.ended.last(reason, limit)
  }

  refused(): RefusalGroup[] {
    return this.#collector.refusals.list()
  }

  explain(subject: Subject): Explanation | undefined {
    checkSubject(subject)
    return explain(this.#apps, this.#collector, subject)
  }

  wouldAdmit(
    certificate: X509Certificate,
    options: AdmissionOptions = {},
  ): Promise<ServerAdmission[]> {
    return admissions(this.servers, certificate, options)
  }

  history(of: 'seconds' | 'minutes'): Table {
    if (of !== 'seconds' && of !== 'minutes') {
      throw optionError('history', 'of', "'seconds' or 'minutes'", of)
    }
    return this.#looker[of].table()
  }

  look(tick?: () => void): () => void {
    checkFunction('look', 'tick', tick)
    return this.#looker.look(tick)
  }

  [Symbol.dispose](): void {
    this.#stopLooking?.()
    this.#looker.stop()
    this.#loop?.stop()
    this.#collector.stop()
  }

  #read() {
    return readMetrics(this.#apps, this.#collector, this.#loop, this.#most)
  }
}
