/** Figures as text. */

import type { Snapshot } from './snapshot.ts'

const units = ['B', 'kB', 'MB', 'GB', 'TB']

export function bytes(count: number): string {
  let value = count
  let unit = 0
  while (value >= 1_000 && unit < units.length - 1) {
    value /= 1_000
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** A duration in seconds, written in its two largest units. */
export function duration(seconds: number): string {
  if (seconds < 0.001) return `${Math.round(seconds * 1_000_000)} µs`
  if (seconds < 1) return `${(seconds * 1_000).toFixed(seconds < 0.01 ? 1 : 0)} ms`
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
  if (seconds < 86_400)
    return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`
}

/** A time of the day, or the date of an older one. */
export function clock(time: number, now: number): string {
  const date = new Date(time)
  return now - time < 12 * 3_600_000
    ? date.toLocaleTimeString([], { hour12: false })
    : date.toLocaleDateString()
}

export function count(value: number): string {
  return value.toLocaleString('en').replaceAll(',', '\u202F')
}

/**
 * How many open connections belong to no server: streams inside another connection, and others from
 * `app.handle()`.
 */
export function handled({ totals, servers }: Pick<Snapshot, 'totals' | 'servers'>): number {
  return totals.open - servers.reduce((sum, { connections }) => sum + connections, 0)
}

/** The reason of an end as words. */
export function words(reason: string): string {
  return reason.replaceAll('_', ' ')
}

/** A mark for each outcome of a step. */
export const marks = {
  passed: '✓',
  'is here': '●',
  'ended here': '■',
  'refused here': '✗',
  'not reached': '·',
} as const
