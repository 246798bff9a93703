/** The overview that the page and the terminal show. */

import type { App, PipelineEntry, ServerContext } from 'cio'
import type { Alarm } from './alarms/alarm.ts'
import { type Bound, allBounds } from './bounds.ts'
import { type ServerCertificate, certificatesOf } from './certificates.ts'
import type { Collector } from './collector.ts'
import type { Generation, Generations } from './generations.ts'
import type { Looker } from './looker.ts'
import type { PeerTraffic } from './peers.ts'
import { placeOfClient, placeOfServer } from './places.ts'
import type { RefusalGroup } from './refusals.ts'
import type { CallsView, ClientView, MethodView, ServerView, StepView } from './views.ts'

/** The data of one screen. Lists are bounded. */
export interface Snapshot {
  /** Milliseconds since 1970. */
  readonly time: number
  readonly since: number
  readonly pid: number
  readonly node: string
  readonly servers: readonly ServerView[]
  readonly totals: {
    readonly open: number
    readonly accepted: number
    readonly ended: number
    readonly refused: number
    readonly rx: number
    readonly tx: number
  }
  readonly pipelines: Readonly<Record<'server' | 'connection' | 'client', readonly StepView[]>>
  /** How many have ended since the watch began, and in the last minute, by reason. */
  readonly ended: Readonly<Record<string, { readonly all: number; readonly lately: number }>>
  readonly refused: readonly RefusalGroup[]
  readonly clients: readonly ClientView[]
  readonly certificates: readonly (ServerCertificate & { readonly server: string })[]
  /** Usage against what there may be. */
  readonly bounds: readonly Bound[]
  readonly calls: CallsView
  /** The alarms that are raised, if `alarms()` was called. */
  readonly alarms: readonly Alarm[]
  readonly generations: readonly (Generation & { readonly running: number | null })[]
  readonly peers: readonly PeerTraffic[]
}

const mostRows = 50
const kinds = ['server', 'connection', 'client'] as const

/** Takes a snapshot. */
export function snapshot(
  apps: readonly App[],
  collector: Collector,
  looker: Looker,
  generations: Generations,
): Snapshot {
  const { servers, clients, refusals, peers } = collector
  const { totals } = collector.connections
  const { places, steps, generations: running } = looker.walk
  generations.check()
  let [open, rx, tx] = [0, totals.rx, totals.tx]
  for (const place of places.values()) {
    open += place.active
    rx += place.rx
    tx += place.tx
  }
  const lately = looker.endedLately()
  const views = [...servers].map((server) => {
    const isStopping = collector.stopping.has(server)
    return serverView(server, isStopping, places.get(placeOfServer(server).key))
  })
  return {
    time: Date.now(),
    since: collector.since,
    pid: process.pid,
    node: process.version,
    servers: views,
    totals: {
      open,
      accepted: totals.accepted,
      ended: totals.ended,
      refused: totals.refused,
      rx,
      tx,
    },
    pipelines: {
      server: stepViews(apps, 'server', collector, looker, countSteps(servers)),
      connection: stepViews(apps, 'connection', collector, looker, steps),
      client: stepViews(apps, 'client', collector, looker, countSteps(clients)),
    },
    ended: Object.fromEntries(
      [...collector.connections.endedFor].map(([reason, all]) => {
        return [reason, { all, lately: lately.get(reason) ?? 0 }]
      }),
    ),
    refused: refusals.list().slice(0, mostRows),
    clients: [...clients].slice(0, mostRows).map((client) => {
      const { id, connected, step } = client
      return { id, target: placeOfClient(client).key, connected, step }
    }),
    certificates: [...servers].flatMap((server) => {
      const { key } = placeOfServer(server)
      return certificatesOf(server).map((one) => ({ ...one, server: key }))
    }),
    alarms: (collector.alarms?.list ?? []).filter(({ active }) => active),
    bounds: allBounds(collector.options.limit),
    calls: { methods: methodViews(collector, looker), slowest: collector.calls.slowest },
    generations: generations.list
      .map((one) => {
        const counts = one.pipeline === 'connection' ? running.get(one.generation) : null
        return { ...one, running: counts ?? (one.pipeline === 'connection' ? 0 : null) }
      })
      .toReversed(),
    peers: peers.top(),
  }
}

function serverView(
  server: ServerContext,
  isStopping: boolean,
  sums:
    { readonly active: number; readonly handshakes: number; readonly queued: number } | undefined,
): ServerView {
  const state = server.draining.aborted
    ? 'draining'
    : server.address === null && server.options.bind !== false
      ? 'paused'
      : isStopping
        ? 'stopping'
        : 'listening'
  return {
    address: placeOfServer(server).key,
    state,
    tls: server.tls !== null,
    // From the same moment as the totals.
    connections: sums?.active ?? server.connections.size,
    handshakes: sums?.handshakes ?? 0,
    queued: sums?.queued ?? 0,
    dropped: server.dropped,
  }
}

function stepViews(
  apps: readonly App[],
  kind: (typeof kinds)[number],
  { families }: Collector,
  looker: Looker,
  counts: ReadonlyMap<string, number>,
): StepView[] {
  const entries = new Map<string, PipelineEntry>()
  for (const { pipelines } of apps) {
    for (const entry of pipelines[kind]) {
      if (entry.enabled && !entries.has(entry.name)) entries.set(entry.name, entry)
    }
  }
  const histograms = new Map(families.stepDuration)
  const ended = kind === 'connection' ? looker.endedInSteps() : new Map<string, number>()
  return [...entries.values()].map(({ name, step, at, why }) => {
    const key = `${kind} ${name}`
    const histogram = histograms.get(key)?.value
    return {
      name,
      step,
      at,
      why,
      active: counts.get(name) ?? 0,
      p50: histogram ? looker.stepQuantile(key, histogram, 0.5) : null,
      p99: histogram ? looker.stepQuantile(key, histogram, 0.99) : null,
      passed: histogram?.count ?? 0,
      ended: endedIn(name, ended),
    }
  })
}

function methodViews({ calls }: Collector, looker: Looker): MethodView[] {
  return [...calls.methods]
    .map(([key, { side, method, histogram, failed }]) => {
      const { lately, p50, p99 } = looker.callsLately(key, histogram)
      return { side, method, count: histogram.count, failed, lately, p50, p99 }
    })
    .toSorted((a, b) => b.lately - a.lately || b.count - a.count)
    .slice(0, mostRows)
}

function endedIn(name: string, ended: ReadonlyMap<string, number>): Record<string, number> {
  const here = [...ended].filter(([key]) => key.startsWith(`${name} `))
  return Object.fromEntries(here.map(([key, count]) => [key.slice(name.length + 1), count]))
}

function countSteps(contexts: Iterable<{ readonly step: string }>): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { step } of contexts) counts.set(step, (counts.get(step) ?? 0) + 1)
  return counts
}
