/** What the benches find, for the table that `npm run bench` prints. */

import { appendFileSync } from 'node:fs'

/** One line of the table. */
export interface Row {
  readonly what: string
  /** What it is compared with. */
  readonly beside: string
  /** `times` for a ratio, or the unit of an absolute figure. */
  readonly unit: 'times' | 'ms' | 'KiB'
  readonly figure: number
  /** The middle half of the rounds: of quotients of neighbours, of differences, or of figures. */
  readonly low: number
  readonly high: number
  readonly target: number
  /** The same interval for the first candidate beside itself, if it was measured. */
  readonly self?: readonly [low: number, high: number]
  /** Full collections a second of V8: of the first candidate, and of Cio. */
  readonly markCompacts?: readonly [number, number]
  /** What else was counted, for the notes below the table. */
  readonly note?: string
}

/** A row with the share of the cores that other processes had. */
export interface Measured extends Row {
  readonly others: number
}

export type Verdict = 'met' | 'missed' | 'cannot tell'

// A busy machine, or a candidate that differs from itself by more, decides nothing.
const mostOthers = 0.25
const mostNoise = 0.15

/** Hands a row to the process that asked for rows, if there is one. */
export function record(row: Row): void {
  const { BENCH_RESULTS: file } = process.env
  if (file) appendFileSync(file, `${JSON.stringify(row)}\n`)
}

/** Missed if not even the interval reaches the target; if only the interval does, nothing is decided. */
export function verdictOf({ figure, low, target, others, self = [1, 1] }: Measured): Verdict {
  const noise = Math.max(...self.map((bound) => Math.abs(bound - 1)))
  if (others > mostOthers || noise > mostNoise) return 'cannot tell'
  if (figure <= target) return 'met'
  return low <= target ? 'cannot tell' : 'missed'
}

/** The quotients of neighbouring rounds: the middle half of them. */
export function middleOfPairs(
  costs: readonly number[],
  base: readonly number[],
): readonly [low: number, high: number] {
  return middleHalf(costs.map((cost, index) => cost / base[index]!))
}

/** The middle half of all. */
export function middleHalf(values: readonly number[]): readonly [low: number, high: number] {
  return [quantile(values, 0.25), quantile(values, 0.75)]
}

/** The value in the middle. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** The value below which this part of all lies. */
export function quantile(values: readonly number[], at: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const place = (sorted.length - 1) * at
  const below = sorted[Math.floor(place)] ?? 0
  const above = sorted[Math.ceil(place)] ?? 0
  return below + (above - below) * (place % 1)
}
