/** The formats between the terminal or the pipes, and the connection. */

import type { Middleware, MessagesContext, StreamContext } from '../src/index.ts'
import { json, lines } from '../src/index.ts'
import { UsageError } from './command.ts'
import { escapeUnprintable, paint } from './terminal.ts'

/** Converts input to sent data, and received data to output. */
export interface Format {
  /** The codec of the stream; without it, chunks are the messages. */
  readonly codec?: () => Middleware<StreamContext, MessagesContext<unknown>>
  /** Whether it reads the input line by line, or in chunks. */
  readonly byLine: boolean
  /** Undefined for empty input, such as a blank line between values. */
  readonly toSend: (piece: string | Buffer) => unknown
  readonly toShow: (message: unknown) => string | Buffer
}

const rowLength = 16

/** The formats by their names for `--format`. */
export const formats: Readonly<Record<string, Format>> = {
  raw: {
    byLine: false,
    toSend: (piece) => piece,
    toShow: (chunk) => chunk as Buffer,
  },
  lines: {
    codec: () => lines() as Middleware<StreamContext, MessagesContext<unknown>>,
    byLine: true,
    toSend: (line) => line,
    toShow: (line) => `${escapeUnprintable(String(line))}\n`,
  },
  json: {
    codec: () => json() as Middleware<StreamContext, MessagesContext<unknown>>,
    byLine: true,
    toSend: (line) => parseJson(String(line)),
    toShow: (value) => `${showJson(value)}\n`,
  },
  hex: {
    byLine: true,
    toSend: (line) => parseHex(String(line)),
    toShow: (chunk) => dump(chunk as Buffer),
  },
}

/** Finds a format by its name. */
export function formatOf(name = 'raw'): Format {
  const format = Object.hasOwn(formats, name) ? formats[name] : undefined
  if (format) return format
  throw new UsageError(`--format is one of ${Object.keys(formats).join(', ')}, not ${name}`)
}

/** Parses a value; undefined for blank text. */
export function parseJson(line: string): unknown {
  if (line.trim() === '') return undefined
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new UsageError(`it is not JSON: ${(error as Error).message}`)
  }
}

/** Indented on a terminal, on one line for a program. */
export function showJson(value: unknown): string {
  const text = textOf(value)
  return text.split('\n').map(escapeUnprintable).join('\n')
}

function textOf(value: unknown): string {
  try {
    return JSON.stringify(value, null, process.stdout.isTTY ? 2 : 0)
  } catch (cause) {
    throw new Error('it is nested too deeply to be printed as JSON', { cause })
  }
}

function parseHex(line: string): Buffer {
  const digits = line.replace(/\s/g, '')
  if (!/^([\da-f]{2})*$/i.test(digits)) {
    throw new UsageError(`it is not pairs of hexadecimal digits: ${JSON.stringify(line)}`)
  }
  return Buffer.from(digits, 'hex')
}

/**
 * Rows of hexadecimal digits, which `--format hex` can read; on a terminal with their characters.
 */
function dump(chunk: Buffer): string {
  const rows: string[] = []
  for (let at = 0; at < chunk.length; at += rowLength) {
    const row = chunk.subarray(at, at + rowLength)
    const digits = row.toString('hex').replace(/(..)(?=.)/g, '$1 ')
    const characters = row.toString('latin1').replace(/[^ -~]/g, '.')
    const width = 3 * rowLength
    rows.push(
      process.stdout.isTTY
        ? `${digits.padEnd(width)} ${paint('dim', characters, process.stdout)}\n`
        : `${digits}\n`,
    )
  }
  return rows.join('')
}
