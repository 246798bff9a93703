/** The answer of `cio why`. */

import type { Paint } from './paint.ts'
import type { Explanation } from '../explain.ts'
import { count, duration, marks, words } from '../format.ts'
import { clean } from '../text.ts'

/** The path of a connection through the pipeline, step by step, and its end. */
export function explanationText(found: Explanation, paint: Paint): string {
  const { open, ended, steps, others } = found
  const width = Math.max(0, ...steps.map(({ name }) => name.length))
  const way = steps.map(({ name, at, outcome, duration: took }) => {
    const said = outcome === 'passed' && took !== undefined ? duration(took / 1_000) : outcome
    const line = `  ${marks[outcome]} ${name.padEnd(width)}  ${said.padEnd(12)}  ${at}`
    if (outcome === 'not reached') return paint('dim', line)
    return outcome === 'refused here' || outcome === 'ended here' ? paint('red', line) : line
  })
  const lines = [paint('bold', titleOf(found)), ...way]
  if (ended) {
    lines.push(
      `${words(ended.reason)}, by the ${ended.by} side, ${duration(Math.max(0, Date.now() - ended.ended) / 1_000)} ago, after ${duration(ended.duration)}`,
    )
    const { refusal, code, message } = ended
    if (refusal) {
      const verdict = refusal.verdict === undefined ? '' : ` (${clean(refusal.verdict)})`
      lines.push(`refused by ${refusal.step}: ${words(refusal.why)}${verdict}`)
    }
    if (message !== undefined)
      lines.push(`${code === undefined ? '' : `${clean(code)}: `}${clean(message)}`)
  }
  if (open) {
    const idle = open.idle === null ? '' : `, idle for ${duration(open.idle)}`
    lines.push(
      `open for ${duration(open.age)}${idle}; ${count(open.rx)} bytes received, ${count(open.tx)} sent, ${count(open.queued)} queued`,
    )
    if (open.tls !== null) lines.push(`${open.tls}, ${open.cipher}`)
    if (open.certificate) {
      const { issuer, expires } = open.certificate
      lines.push(`certificate of ${clean(issuer)}, until ${new Date(expires).toISOString()}`)
    }
  }
  lines.push(`${count(others.open)} more open, ${count(others.ended)} more remembered`)
  return `${lines.join('\n')}\n`
}

function titleOf({ open, ended }: Explanation): string {
  const { id, peer, address } = (open ?? ended)!
  const claimed = ended?.claimed == null ? '' : `${clean(ended.claimed)} (claimed, unverified), `
  const name = peer === null ? claimed : `${clean(peer)}, `
  return `${name}connection ${id}${address === null ? '' : ` from ${address}`}`
}
