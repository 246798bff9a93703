import test from 'ava'
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
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
