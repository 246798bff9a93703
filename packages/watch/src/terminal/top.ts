/** The screen of `cio top`. */

import type { Paint } from './paint.ts'
import { bytes, count, duration, handled, words } from '../format.ts'
import type { ConnectionPage } from '../rows.ts'
import type { Snapshot } from '../snapshot.ts'
import { clean } from '../text.ts'

type Rows = readonly (readonly string[])[]

interface Screen {
  readonly columns: number
  readonly rows: number
  readonly paint: Paint
}

/** The text of one screen, no wider than its columns and, if it is live, no longer than its rows. */
export function topText(
  { servers, totals, pipelines, refused, ended, time, since }: Snapshot,
  { rows: connections, matching }: ConnectionPage,
  { columns, rows, paint }: Screen,
  isLive: boolean,
): string {
  const streams = handled({ servers, totals })
  const heads = servers.map(({ address, state, tls, connections: open }) => {
    return `${address} ${state}${tls ? ', TLS' : ''}, ${count(open)} open`
  })
  const steps = pipelines.connection.map(({ name, active, p50, p99, ended: here }) => [
    name,
    count(active),
    p50 === null ? '–' : duration(p50),
    p99 === null ? '–' : duration(p99),
    Object.entries(here)
      .map(([reason, times]) => `${count(times)} ${words(reason)}`)
      .join(', '),
  ])
  const groups = refused
    .slice(0, 5)
    .map(({ reason, step, at, who, example: { claimed }, count: times }) => [
      words(reason),
      `${step} ${at ?? ''}`,
      claimed === null ? clean(who ?? '–') : `${clean(claimed)} (claimed)`,
      count(times),
    ])
  const open = connections.map((row) => [
    String(row.id),
    clean(row.peer ?? '–'),
    row.address ?? '–',
    row.step,
    duration(row.age),
    `${bytes(row.rate)}/s`,
    bytes(row.rx),
    bytes(row.tx),
    bytes(row.queued),
  ])
  const reasons = Object.entries(ended).map(([reason, { all }]) => `${count(all)} ${words(reason)}`)
  const title = (text: string): string => paint('bold', text)
  const head = [
    ...heads.map((line) => fit(line, columns)),
    ...(streams > 0 ? [fit(`${count(streams)} open as streams of others`, columns)] : []),
    fit(
      `${count(totals.accepted)} accepted, ${count(totals.refused)} refused, watched for ${duration((time - since) / 1_000)}`,
      columns,
    ),
    fit(`ended: ${reasons.join(', ') || 'none'}`, columns),
  ]
  const lines = [
    ...head,
    '',
    ...table(
      ['step', 'now', 'p50', 'p99', 'ended in the last minute'],
      steps,
      columns,
      title,
      [1, 2, 3],
    ),
    ...(groups.length === 0
      ? []
      : ['', ...table(['refused', 'by', 'who', 'count'], groups, columns, title, [3])]),
    '',
    ...table(
      ['id', 'peer', 'address', 'step', 'age', 'rate', 'received', 'sent', 'queued'],
      open,
      columns,
      title,
      [4, 5, 6, 7, 8],
    ),
  ]
  const rest = matching - connections.length
  if (rest > 0) lines.push(`and ${count(rest)} more`)
  return `${lines.slice(0, isLive ? rows - 1 : undefined).join('\n')}\n`
}

function table(
  titles: readonly string[],
  rows: Rows,
  columns: number,
  title: (text: string) => string,
  right: readonly number[],
): string[] {
  const widths = titles.map((text, column) =>
    Math.max(text.length, ...rows.map((row) => row[column]!.length)),
  )
  narrow(widths, titles, columns, right)
  const line = (row: readonly string[]): string => {
    const cells = row.map((cell, column) => {
      const width = widths[column]!
      return right.includes(column) ? cell.padStart(width) : fit(cell, width).padEnd(width)
    })
    return fit(cells.join(between).trimEnd(), columns)
  }
  return [title(line(titles)), ...rows.map(line)]
}

const between = '  '
/** A text is never cut to less than this. */
const leastText = 8

/** Shortens the widest texts, so that a long name does not hide a figure. */
function narrow(
  widths: number[],
  titles: readonly string[],
  columns: number,
  right: readonly number[],
): void {
  const least = titles.map((text, column) =>
    right.includes(column) ? Infinity : Math.max(text.length, leastText),
  )
  let over = widths.reduce((sum, width) => sum + width + between.length, -between.length) - columns
  for (; over > 0; over--) {
    const spare = widths.map((width, column) => width - least[column]!)
    const widest = spare.indexOf(Math.max(...spare))
    if (!(spare[widest]! > 0)) return
    widths[widest]! -= 1
  }
}

function fit(text: string, columns: number): string {
  return text.length > columns ? `${text.slice(0, columns - 1)}…` : text
}
