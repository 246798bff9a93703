import { escapeText } from '../../src/errors.ts'

/** The levels of a line. */
export type Level = 'info' | 'warn' | 'error'

/** The values of one line. */
export type Attributes = Record<string, string | number | boolean>

/** Without a quote and a backslash, such a text is its own JSON. */
const isPlain = /^[ !#-[\]-~]*$/

/**
 * A line of JSON without characters that can drive a terminal. `JSON.stringify` of all of it takes
 * twice as long, and a line is written for each connection.
 *
 * @param record Its names are plain
 */
export function jsonLine(level: Level, record: Attributes): string {
  let line = `{"time":"${timeOf(Date.now())}","level":"${level}"`
  for (const name of Object.keys(record)) {
    const value = record[name]!
    line += `,"${name}":${typeof value === 'string' ? jsonText(value) : value}`
  }
  return `${line}}\n`
}

function jsonText(text: string): string {
  return isPlain.test(text) ? `"${text}"` : escapeText(JSON.stringify(text))
}

let second = -1
let textOfSecond = ''

/** A time as `toISOString()` writes it, which takes ten times as long. */
function timeOf(now: number): string {
  const milliseconds = now % 1_000
  if (now - milliseconds !== second) {
    second = now - milliseconds
    textOfSecond = new Date(second).toISOString().slice(0, -'000Z'.length)
  }
  return `${textOfSecond}${String(milliseconds).padStart(3, '0')}Z`
}
