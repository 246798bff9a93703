/** Prints the order of the three pipelines, and the reason for each place. */

import type { PipelineEntry } from './pipeline.ts'

/** What `app.inspect()` returns: data, whose `String()` is a table. */
export class Inspection {
  /** The server pipeline, in its final order. */
  readonly server: readonly PipelineEntry[]
  /** The connection pipeline, in its final order. */
  readonly connection: readonly PipelineEntry[]
  /** The client pipeline, in its final order. */
  readonly client: readonly PipelineEntry[]

  constructor(
    server: Iterable<PipelineEntry>,
    connection: Iterable<PipelineEntry>,
    client: Iterable<PipelineEntry>,
  ) {
    this.server = [...server]
    this.connection = [...connection]
    this.client = [...client]
  }

  /** A table as wide as the terminal, or 80 columns without one. */
  toString(): string {
    const width = process.stdout.columns || 80
    return [
      ...table('server', this.server, width),
      '',
      ...table('connection', this.connection, width),
      '',
      ...table('client', this.client, width),
    ].join('\n')
  }
}

const indent = '  '
const narrowest = 12

function table(title: string, entries: readonly PipelineEntry[], width: number): string[] {
  const rows = entries.map((entry, index) => [
    String(index + 1),
    entry.name + (entry.enabled ? '' : ' (disabled)') + (entry.repeats ? ' (repeats)' : ''),
    entry.why,
    entry.at,
  ])
  const widest = (column: number): number => Math.max(0, ...rows.map((row) => row[column]!.length))
  const number = widest(0)
  const name = Math.min(widest(1), Math.floor(width / 3))
  const rest = width - number - name - 4 * indent.length
  const at = Math.max(narrowest, Math.min(widest(3), Math.floor(rest / 2)))
  const why = Math.max(narrowest, Math.min(widest(2), rest - at))
  const columns = [number, name, why, at]

  return [title, ...rows.flatMap((row) => line(row, columns))]
}

/** One row, wrapped to as many lines as its longest cell needs. */
function line(row: readonly string[], columns: readonly number[]): string[] {
  const cells = row.map((cell, column) => wrap(cell, columns[column]!))
  const height = Math.max(...cells.map((cell) => cell.length))
  return Array.from({ length: height }, (_, at) =>
    cells
      .map((cell, column) => indent + (cell[at] ?? '').padEnd(columns[column]!))
      .join('')
      .trimEnd(),
  )
}

function wrap(text: string, width: number): string[] {
  const lines = ['']
  for (const word of text.split(/(?<= )|(?<=\/)/)) {
    if (lines.at(-1)!.length + word.trimEnd().length > width && lines.at(-1) !== '') lines.push('')
    lines.push(...(((lines.pop() ?? '') + word).match(new RegExp(`.{1,${width}}`, 'g')) ?? ['']))
  }
  return lines
}
