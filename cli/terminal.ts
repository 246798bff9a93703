/** Output that depends on a terminal: colours and progress. */

import type { WriteStream } from 'node:tty'
import { escapeText } from '../src/kit.ts'

type Output = NodeJS.WritableStream & Pick<Partial<WriteStream>, 'isTTY'>

const styles = { bold: [1, 22], dim: [2, 22], red: [31, 39], green: [32, 39] } as const
const patience = 1_000
const frame = 500

/** Colours a text, if the stream is a terminal and `NO_COLOR` is not set. */
export function paint(style: keyof typeof styles, text: string, output: Output): string {
  if (!output.isTTY || process.env.NO_COLOR || process.env.TERM === 'dumb') return text
  const [on, off] = styles[style]
  return `\u001B[${on}m${text}\u001B[${off}m`
}

/** Prints on stderr what takes more than a second: once, or with a counter on a terminal. */
export async function progress<Result>(what: string, work: Promise<Result>): Promise<Result> {
  const { stderr } = process
  let seconds = 0
  let shown = false
  const timer = setInterval(() => {
    seconds += frame / 1_000
    if (seconds * 1_000 < patience || (shown && !stderr.isTTY)) return
    stderr.write(stderr.isTTY ? `\r${what} … ${Math.floor(seconds)} s` : `${what} …\n`)
    shown = true
  }, frame)
  try {
    return await work
  } finally {
    clearInterval(timer)
    if (shown && stderr.isTTY) stderr.write('\r\u001B[K')
  }
}

/** Prints a note about the conversation on stderr. */
export function note(text: string): void {
  process.stderr.write(`${paint('dim', text, process.stderr)}\n`)
}

// Control characters drive terminals; a tab is harmless.
/**
 * Escapes the characters of a peer that do not print, as JSON does: those that control a terminal, and
 * those that reorder or hide text. Tabs stay.
 */
export function escapeUnprintable(text: string): string {
  return text.split('\t').map(escapeText).join('\t')
}
