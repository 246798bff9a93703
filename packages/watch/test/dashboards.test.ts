import test from 'ava'
import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Metric } from '../src/instruments.ts'
import { metrics } from '../src/metrics.ts'
import { promName } from '../src/prometheus.ts'
import { reasons } from '../src/reasons.ts'
import { has } from './support.ts'

const folder = fileURLToPath(new URL('../dashboards/', import.meta.url))
const read = (file: string): Promise<string> => readFile(folder + file, 'utf8')

/** The names under which a metric may be queried. */
function names(metric: Metric): string[] {
  const name = promName(metric)
  return metric.kind === 'histogram'
    ? ['_bucket', '_sum', '_count'].map((end) => name + end)
    : [name]
}

const known = new Set(Object.values(metrics).flatMap(names))
const named = (text: string): Set<string> =>
  new Set([...text.matchAll(/\b(?:cio|nodejs|rpc)_\w+(?=[{[ )/,]|$)/gm)].map(([name]) => name))
/** Names of labels look the same. */
const labels =
  /^cio_(end_reason|step_name|refusal_reason|pipeline|peer_name|io_layer|certificate_name|limit_name|alarm_name)$|^rpc_method$/

test('dashboards and alerts name only metrics that exist', async (t) => {
  for (const file of ['grafana.json', 'alerts.yml']) {
    const used = [...named(await read(file))].filter((name) => !labels.test(name))
    t.true(used.length > 5)
    for (const name of used) t.true(known.has(name), `${name} in ${file}`)
  }
})

test('each metric is in the dashboard or in an alert', async (t) => {
  const used = named((await read('grafana.json')) + (await read('alerts.yml')))
  for (const metric of Object.values(metrics)) {
    t.true(
      names(metric).some((name) => used.has(name)),
      metric.name,
    )
  }
})

test('each reason that an alert names exists', async (t) => {
  const used = [...(await read('alerts.yml')).matchAll(/cio_end_reason="(\w+)"/g)]
  t.true(used.length > 0)
  for (const [, reason] of used) t.true((reasons as readonly string[]).includes(reason!), reason)
})

test('the alerts pass the checks of promtool', async (t) => {
  if (!has(t, 'promtool', 'prometheus')) return
  const { status, stdout, stderr } = spawnSync('promtool', [
    'check',
    'rules',
    `${folder}alerts.yml`,
  ])
  t.is(status, 0, String(stdout) + String(stderr))
})

test('the dashboard is one that Grafana imports: panels with queries, none over another', async (t) => {
  const { panels } = JSON.parse(await read('grafana.json')) as {
    panels: {
      readonly title: string
      readonly targets: readonly { readonly expr: string }[]
      readonly gridPos: { readonly x: number; readonly y: number; readonly w: number }
    }[]
  }
  t.true(panels.length >= 15)
  const places = panels.map(({ gridPos: { x, y } }) => `${x} ${y}`)
  t.deepEqual([...new Set(places)], places)
  for (const { title, targets, gridPos } of panels) {
    t.true(targets.length > 0 && targets.every(({ expr }) => expr.length > 0), title)
    t.true(gridPos.x + gridPos.w <= 24, title)
  }
})

/** For each alert: series by the minute, a minute at which it fires, and one at which it no longer does. */
const incidents: Readonly<
  Record<string, readonly [Readonly<Record<string, string>>, number, number]>
> = {
  CioDescriptorsRunOut: [
    { cio_descriptor_usage: '950x9 100x50', cio_descriptor_limit: '1000x60' },
    5,
    20,
  ],
  CioConnectionsDropped: [{ cio_connection_dropped_total: '0 0 3x50' }, 4, 20],
  CioCertificateExpires: [{ cio_certificate_remaining_seconds: '100000x90 9000000x60' }, 80, 100],
  CioApplicationFails: [
    { 'cio_connection_duration_seconds_count{cio_end_reason="local_fault"}': '0+60x20 1200x60' },
    12,
    40,
  ],
  // A series begins with its first event.
  CioStuck: [
    { 'cio_connection_duration_seconds_count{cio_end_reason="stuck"}': '_x5 1x90' },
    8,
    40,
  ],
  CioManyRefused: [
    { 'cio_connection_refused_total{cio_step_name="secure"}': '0+6x60 366+600x50 30366x90' },
    105,
    125,
  ],
  CioHandshakesAreSlow: [
    {
      'cio_tls_handshake_duration_seconds_bucket{le="2.5"}': '0x90',
      'cio_tls_handshake_duration_seconds_bucket{le="5"}': '0+60x30 1800x60',
      'cio_tls_handshake_duration_seconds_bucket{le="+Inf"}': '0+60x30 1800x60',
    },
    25,
    60,
  ],
  CioSlowReaders: [{ cio_connection_queued_size_bytes: '300000000x15 0x50' }, 10, 30],
  CioLimitIsNear: [{ cio_limit_usage: '95x9 10x50', cio_limit_limit: '100x60' }, 5, 30],
  CioCallsFail: [
    { 'rpc_server_call_duration_seconds_count{error_type="-32603"}': '0+60x20 1200x60' },
    12,
    40,
  ],
  CioLogLosesLines: [{ cio_log_dropped_total: '0+60x20 1200x60' }, 12, 40],
  CioAlarm: [{ cio_alarm_active: '1x5 0x50' }, 3, 20],
}

test('each alert fires while its incident lasts, and ends after it', async (t) => {
  const alerts = [...(await read('alerts.yml')).matchAll(/alert: (\w+)/g)].map(([, name]) => name!)
  t.deepEqual(Object.keys(incidents), alerts)
  if (!has(t, 'promtool', 'prometheus')) return
  const tests = Object.entries(incidents).map(([name, [series, fires, ends]]) => {
    const expr = `count(ALERTS{alertname="${name}", alertstate="firing"}) or vector(0)`
    const at = (minute: number, value: number): object => {
      return { expr, eval_time: `${minute}m`, exp_samples: [{ labels: '{}', value }] }
    }
    return {
      name,
      interval: '1m',
      input_series: Object.entries(series).map(([one, values]) => ({ series: one, values })),
      promql_expr_test: [at(fires, 1), at(ends, 0)],
    }
  })
  const file = join(await mkdtemp(join(tmpdir(), 'cio-')), 'tests.json')
  t.teardown(() => rm(dirname(file), { recursive: true }))
  const rules = { rule_files: [`${folder}alerts.yml`], evaluation_interval: '1m', tests }
  await writeFile(file, JSON.stringify(rules))
  const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', file])
  t.is(status, 0, String(stdout) + String(stderr))
})
