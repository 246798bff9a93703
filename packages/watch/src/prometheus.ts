/** The text format of Prometheus, version 0.0.4. */

import { Histogram, type Attributes, type Metric, type Reading } from './instruments.ts'

export const contentType = 'text/plain; version=0.0.4; charset=utf-8'

/** Writes metrics as text; those without a series are left out. */
export function toText(readings: Iterable<Reading>): string {
  const lines: string[] = []
  for (const { metric, points } of readings) {
    if (points.length === 0) continue
    const name = promName(metric)
    const type = metric.kind === 'updown' ? 'gauge' : metric.kind
    lines.push(`# HELP ${name} ${metric.help}`, `# TYPE ${name} ${type}`)
    for (const { attributes, value } of points) {
      const labels = labelsOf(attributes)
      if (value instanceof Histogram) pushHistogram(lines, name, labels, value)
      else lines.push(`${name}${braced(labels)} ${value}`)
    }
  }
  return `${lines.join('\n')}\n`
}

const suffixes: Readonly<Record<string, string>> = { s: '_seconds', By: '_bytes', '1': '_ratio' }

/** The name in Prometheus: dots become lines, and the unit and `_total` follow. */
export function promName({ name, unit, kind }: Metric): string {
  return `${name.replaceAll('.', '_')}${suffixes[unit] ?? ''}${kind === 'counter' ? '_total' : ''}`
}

function pushHistogram(lines: string[], name: string, labels: string, value: Histogram): void {
  const before = labels === '' ? '' : `${labels},`
  let below = 0
  for (const [bucket, bound] of value.bounds.entries()) {
    below += value.counts[bucket]!
    lines.push(`${name}_bucket{${before}le="${bound}"} ${below}`)
  }
  lines.push(
    `${name}_bucket{${before}le="+Inf"} ${value.count}`,
    `${name}_sum${braced(labels)} ${value.sum}`,
    `${name}_count${braced(labels)} ${value.count}`,
  )
}

function braced(labels: string): string {
  return labels === '' ? '' : `{${labels}}`
}

function labelsOf(attributes: Attributes): string {
  return Object.entries(attributes)
    .map(([name, value]) => `${name.replaceAll('.', '_')}="${escapeLabel(String(value))}"`)
    .join(',')
}

const escapes: Readonly<Record<string, string>> = { '\\': '\\\\', '"': '\\"', '\n': '\\n' }

function escapeLabel(text: string): string {
  return text.replace(/[\\"\n]/g, (one) => escapes[one]!)
}
