/** Figures over time, for the charts: five minutes by the second, and a day by the minute. */

/** The columns of a chart's table. */
export const columns = [
  'opened',
  'regular',
  'refused',
  'limit',
  'remote',
  'local',
  'handshakeP50',
  'handshakeP99',
  'waiting',
  'received',
  'sent',
  'queued',
  'utilization',
  'delay',
] as const

export type Column = (typeof columns)[number]
export type Sample = Readonly<Record<Column, number>>

/** The rows as columns: `time` in seconds since 1970, and null for a missing figure. */
export type Table = { readonly time: readonly number[] } & {
  readonly [Name in Column]: readonly (number | null)[]
}

/** A ring of samples. */
export class History {
  readonly #size: number
  readonly #times: Float64Array
  readonly #columns: readonly Float32Array[]
  #length = 0
  #next = 0

  constructor(size: number) {
    this.#size = size
    this.#times = new Float64Array(size)
    this.#columns = columns.map(() => new Float32Array(size))
  }

  /** Adds a sample; an unknown figure is NaN. */
  add(time: number, sample: Sample): void {
    this.#times[this.#next] = time
    for (const [at, name] of columns.entries()) this.#columns[at]![this.#next] = sample[name]
    this.#next = (this.#next + 1) % this.#size
    this.#length = Math.min(this.#length + 1, this.#size)
  }

  table(): Table {
    const rows = Array.from({ length: this.#length }, (_, row) => {
      return (this.#next - this.#length + row + this.#size) % this.#size
    })
    const table: Record<string, (number | null)[]> = {
      time: rows.map((row) => this.#times[row]!),
    }
    for (const [at, name] of columns.entries()) {
      table[name] = rows.map((row) => {
        const value = this.#columns[at]![row]!
        return Number.isNaN(value) ? null : Number(value.toPrecision(6))
      })
    }
    return table as unknown as Table
  }
}
