/** Source maps with lines and without columns. */

import { readFile, readdir, writeFile } from 'node:fs/promises'
import type { SourceMapPayload } from 'node:module'
import { join } from 'node:path'

const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Reduces the maps in a folder to lines. */
export async function mapByLine(folder: string): Promise<void> {
  const files = await readdir(folder, { recursive: true })
  const maps = files.filter((file) => file.endsWith('.map')).map((file) => join(folder, file))
  await Promise.all(
    maps.map(async (path) => {
      const map = JSON.parse(await readFile(path, 'utf8')) as SourceMapPayload
      await writeFile(path, JSON.stringify(byLine(map)))
    }),
  )
}

/**
 * A map with only the first mapping of each line. A stack trace needs a file and a line; the
 * columns are four fifths of a packed map.
 */
function byLine(map: SourceMapPayload): SourceMapPayload {
  const at = { source: 0, line: 0 }
  const last = { source: 0, line: 0 }
  const lines = map.mappings.split(';').map((line) => {
    let first: typeof at | undefined
    for (const segment of line.split(',')) {
      const [, source, down = 0] = decode(segment)
      if (source === undefined) continue
      at.source += source
      at.line += down
      first ??= { ...at }
    }
    if (first === undefined) return ''
    const text = encode([0, first.source - last.source, first.line - last.line, 0])
    Object.assign(last, first)
    return text
  })
  return { ...map, names: [], mappings: lines.join(';') }
}

/** The numbers of a segment: base 64, five bits a digit, the lowest bit is the sign. */
function decode(segment: string): number[] {
  const numbers: number[] = []
  let value = 0
  let shift = 0
  for (const letter of segment) {
    const digit = digits.indexOf(letter)
    value += (digit & 31) << shift
    shift += 5
    if (digit & 32) continue
    numbers.push(value & 1 ? -(value >> 1) : value >> 1)
    value = shift = 0
  }
  return numbers
}

function encode(numbers: readonly number[]): string {
  return numbers
    .map((number) => {
      let rest = number < 0 ? (-number << 1) | 1 : number << 1
      let text = ''
      do {
        text += digits[(rest & 31) | (rest > 31 ? 32 : 0)]
        rest >>= 5
      } while (rest > 0)
      return text
    })
    .join('')
}
