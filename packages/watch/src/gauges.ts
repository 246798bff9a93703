/** Metrics that are read at the time of the scrape. */

import type { App } from 'cio'
import { certificatesOf } from './certificates.ts'
import { addBytes } from './collector/families.ts'
import type { Collector } from './collector.ts'
import { boundsOf } from './bounds.ts'
import { descriptorLimit, openDescriptors } from './descriptors.ts'
import type { Attributes, Point, Reading } from './instruments.ts'
import type { LoopMeter } from './loop.ts'
import { type MetricKey, metrics } from './metrics.ts'
import { placeOfClient, placeOfServer } from './places.ts'
import { walk } from './walk.ts'

/** All metrics, in the order of their table. */
export function readMetrics(
  apps: readonly App[],
  collector: Collector,
  loop: LoopMeter | undefined,
  most: number,
): Reading[] {
  const { places, steps } = walk(collector)
  const { families } = collector
  const gauges = new Map<MetricKey, readonly Point[]>()
  const all = [...places.values()]
  const each = (key: MetricKey, of: (sums: (typeof all)[number]) => number): void => {
    gauges.set(
      key,
      all.map((sums) => ({ attributes: sums.place.attributes, value: of(sums) })),
    )
  }
  each('active', ({ active }) => active)
  each('queued', ({ queued }) => queued)
  each('handshakeActive', ({ handshakes }) => handshakes)
  gauges.set('stepActive', stepPoints(apps, collector, steps))
  gauges.set('clientActive', clientPoints(collector))
  gauges.set('generation', generationPoints(apps))
  gauges.set('certificateRemaining', certificatePoints(collector))
  gauges.set('peerIo', collector.peers.points())
  gauges.set('descriptorUsage', one(openDescriptors()))
  gauges.set('descriptorLimit', one(descriptorLimit()))
  gauges.set('logSuppressed', suppressedPoints(collector))
  gauges.set('logDropped', one(collector.options.log?.counts.dropped))
  const limits = boundsOf(collector.options.limit)
  const limitPoints = (of: 'usage' | 'limit'): Point[] =>
    limits.map((bound) => ({ attributes: { 'cio.limit.name': bound.name }, value: bound[of] }))
  gauges.set('limitUsage', limitPoints('usage'))
  gauges.set('limitLimit', limitPoints('limit'))
  gauges.set('alarmActive', alarmPoints(collector))
  gauges.set('loopUtilization', one(loop?.utilization()))
  gauges.set('loopDelay', one(loop?.delay()))

  // The sums of what is closed do not have the figures of what is open.
  const dropped = families.dropped.copy()
  for (const server of collector.servers) {
    dropped.of(placeOfServer(server)).value += server.dropped
  }
  const io = families.io.copy()
  for (const sums of all) addBytes(io, sums.place, sums)

  const grown: Partial<Record<MetricKey, Reading>> = { io: io.read(), dropped: dropped.read() }
  for (const [key, family] of Object.entries(families)) {
    grown[key as MetricKey] ??= family.read()
  }
  return (Object.keys(metrics) as MetricKey[]).map((key) => {
    return grown[key] ?? { metric: metrics[key], points: (gauges.get(key) ?? []).slice(0, most) }
  })
}

function stepPoints(
  apps: readonly App[],
  { servers, clients }: Collector,
  connections: ReadonlyMap<string, number>,
): Point[] {
  const byStep = (contexts: Iterable<{ readonly step: string }>): Map<string, number> => {
    const counts = new Map<string, number>()
    for (const { step } of contexts) counts.set(step, (counts.get(step) ?? 0) + 1)
    return counts
  }
  const counts = { server: byStep(servers), connection: connections, client: byStep(clients) }
  return (['server', 'connection', 'client'] as const).flatMap((pipeline) => {
    // Includes steps without connections, so that a series does not come and go.
    const names = apps.flatMap(({ pipelines }) => pipelines[pipeline].names)
    const all = new Set([...names, ...counts[pipeline].keys()])
    return [...all].map((step) => {
      const attributes = { 'cio.pipeline': pipeline, 'cio.step.name': step }
      return { attributes, value: counts[pipeline].get(step) ?? 0 }
    })
  })
}

function clientPoints({ clients }: Collector): Point[] {
  const points = new Map<string, { readonly attributes: Attributes; value: number }>()
  for (const client of clients) {
    const { key, attributes } = placeOfClient(client)
    const point = points.get(key) ?? { attributes, value: 0 }
    points.set(key, point)
    if (client.connected) point.value += 1
  }
  return [...points.values()]
}

/** The sum over the apps: a change of any of them shows. */
function generationPoints(apps: readonly App[]): Point[] {
  return (['server', 'connection', 'client'] as const).map((pipeline) => {
    const value = apps.reduce((sum, { pipelines }) => sum + pipelines[pipeline].generation, 0)
    return { attributes: { 'cio.pipeline': pipeline }, value }
  })
}

/** Several files may have one name: the one that expires first counts. */
function certificatePoints({ servers }: Collector): Point[] {
  const soonest = new Map<string, number>()
  for (const { name, expires } of [...servers].flatMap(certificatesOf)) {
    soonest.set(name, Math.min(soonest.get(name) ?? Infinity, (expires - Date.now()) / 1_000))
  }
  return [...soonest].map(([name, value]) => {
    return { attributes: { 'cio.certificate.name': name }, value }
  })
}

function alarmPoints({ alarms }: Collector): Point[] {
  return (alarms?.list ?? []).map(({ name, active }) => {
    return { attributes: { 'cio.alarm.name': name }, value: Number(active) }
  })
}

function suppressedPoints({ options: { log } }: Collector): Point[] {
  return Object.entries(log?.counts.suppressed ?? {}).map(([reason, value]) => {
    return { attributes: { 'cio.end.reason': reason }, value }
  })
}

function one(value: number | undefined): Point[] {
  return value === undefined || !Number.isFinite(value) ? [] : [{ attributes: {}, value }]
}
