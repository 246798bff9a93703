/** Four charts: five minutes by the second, or a day by the minute. */

import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { Column, Table } from '../src/history.ts'
import { bytes, duration } from '../src/format.ts'
import { type Row, rowsOf, useAsked } from './state.ts'

interface Line {
  readonly column: Column
  readonly label: string
  /** A custom property of the style. */
  readonly color: string
}

interface Chart {
  readonly title: string
  readonly lines: readonly Line[]
  readonly stacked?: boolean
  readonly format: (value: number) => string
  readonly most?: number
}

const rate = (value: number): string => `${Number(value.toPrecision(2))}/s`
/** Seconds between the times below a chart, which have no seconds. */
const minutes = [1, 2, 5, 10, 30, 60, 120, 240, 480].map((count) => count * 60)
/** In the 24 hours of the other times of the page. */
const minuteOf = (time: number): string => new Date(time * 1_000).toTimeString().slice(0, 5)
const share = (value: number): string => `${Math.round(value * 100)} %`

const charts: readonly Chart[] = [
  {
    title: 'Ended a second, by kind of reason',
    stacked: true,
    format: rate,
    lines: [
      { column: 'regular', label: 'regular', color: '--good' },
      { column: 'refused', label: 'refused', color: '--bad' },
      { column: 'limit', label: 'limits', color: '--warn' },
      { column: 'remote', label: 'remote faults', color: '--blue' },
      { column: 'local', label: 'local faults', color: '--purple' },
    ],
  },
  {
    title: 'TLS handshakes',
    format: duration,
    lines: [
      { column: 'handshakeP50', label: 'p50', color: '--blue' },
      { column: 'handshakeP99', label: 'p99', color: '--warn' },
    ],
  },
  {
    title: 'Bytes a second, above TLS',
    format: bytes,
    lines: [
      { column: 'received', label: 'received', color: '--blue' },
      { column: 'sent', label: 'sent', color: '--good' },
      { column: 'queued', label: 'queued', color: '--bad' },
    ],
  },
  {
    title: 'Event loop',
    format: share,
    most: 1,
    lines: [{ column: 'utilization', label: 'busy', color: '--purple' }],
  },
]

export function Charts({ rows }: { readonly rows: readonly Row[] }) {
  const [range, setRange] = useState<'seconds' | 'minutes'>('seconds')
  const day = useAsked<Table>(
    'history?of=minutes',
    range === 'minutes' ? Math.floor((rows.at(-1)?.time ?? 0) / 60) : 0,
  )
  const shown = range === 'seconds' ? rows : day ? rowsOf(day) : []
  return (
    <section class="panel charts" aria-label="Charts">
      <header>
        <h2>History</h2>
        <div class="tabs" role="tablist" aria-label="How far back">
          {(['seconds', 'minutes'] as const).map((one) => (
            <button
              key={one}
              role="tab"
              type="button"
              aria-selected={one === range}
              onClick={() => setRange(one)}
            >
              {one === 'seconds' ? '5 minutes' : '24 hours'}
            </button>
          ))}
        </div>
      </header>
      <div class="four">
        {charts.map((chart) => (
          <Plot key={chart.title} chart={chart} rows={shown} />
        ))}
      </div>
    </section>
  )
}

function Plot({ chart, rows }: { readonly chart: Chart; readonly rows: readonly Row[] }) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const data = dataOf(chart, rows)

  useEffect(() => {
    const element = place.current!
    const draw = (): void => {
      plot.current?.destroy()
      plot.current = new uPlot(optionsOf(chart, element), dataOf(chart, []), element)
    }
    draw()
    const resized = new ResizeObserver(() => plot.current?.setSize(sizeOf(element)))
    resized.observe(element)
    const dark = matchMedia('(prefers-color-scheme: dark)')
    dark.addEventListener('change', draw)
    return () => {
      resized.disconnect()
      dark.removeEventListener('change', draw)
      plot.current?.destroy()
    }
  }, [chart])
  useEffect(() => plot.current?.setData(data))

  const last = rows.at(-1)
  return (
    <figure>
      <figcaption>
        {chart.title}
        <span class="legend">
          {chart.lines.map(({ column, label, color }) => (
            <span key={column} class={`key ${color.slice(2)}`}>
              {label} {last?.[column] == null ? '–' : chart.format(last[column])}
            </span>
          ))}
        </span>
      </figcaption>
      <div class="plot" ref={place} role="img" aria-label={chart.title} />
    </figure>
  )
}

function dataOf({ lines, stacked = false }: Chart, rows: readonly Row[]): uPlot.AlignedData {
  const times = rows.map(({ time }) => time ?? 0)
  const columns = lines.map(({ column }) => rows.map((row) => row[column]))
  if (!stacked) return [times, ...columns]
  const sums = times.map(() => 0)
  const stack = columns.map((column) =>
    column.map((value, row) => (sums[row] = (sums[row] ?? 0) + (value ?? 0))),
  )
  // The last line is drawn last, so the greatest sum comes first.
  return [times, ...stack.toReversed()]
}

function optionsOf(
  { lines, stacked = false, format, most }: Chart,
  element: Element,
): uPlot.Options {
  const style = getComputedStyle(element)
  const color = (name: string): string => style.getPropertyValue(name).trim()
  const drawn = stacked ? lines.toReversed() : lines
  const axis = {
    stroke: color('--dim'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false },
    font: '11px system-ui, sans-serif',
  }
  return {
    ...sizeOf(element),
    legend: { show: false },
    cursor: { show: false },
    scales: {
      y: {
        range: (_, __, max) => [0, most ?? (max > 0 ? max * 1.1 : 1)],
      },
    },
    series: [
      {},
      ...drawn.map(({ label, color: name }) => ({
        label,
        stroke: color(name),
        width: 1.5,
        points: { show: false },
        spanGaps: true,
        ...(stacked && { fill: color(name) }),
      })),
    ],
    axes: [
      { ...axis, space: 50, size: 26, incrs: minutes, values: (_, splits) => splits.map(minuteOf) },
      { ...axis, size: 58, space: 26, values: (_, splits) => splits.map((one) => format(one)) },
    ],
  }
}

function sizeOf(element: Element): { width: number; height: number } {
  return { width: Math.max(element.clientWidth, 120), height: 150 }
}
