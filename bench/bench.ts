// npm run bench -- quick [--write]
//
// All targets in one table: runs the other benches one after another, and says of each target: met,
// missed, cannot tell. `quick` takes some minutes; without it there are more rounds. `tiny` only
// shows that everything runs. `--write` puts the table into docs/performance.md; then
// run `npm run docs`, which takes the rows of the README from there.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Measured, type Row, verdictOf } from './results.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { write: { type: 'boolean', default: false } },
})
const [size = 'full'] = positionals
const sizes = ['tiny', 'quick', 'full']
if (!sizes.includes(size) || positionals.length > 1) {
  console.error('bench: expected `quick`, `tiny` or nothing, and `--write` or not')
  process.exit(2)
}

/** A bench, and its arguments by size: tiny, quick, full. */
type Program = readonly [file: string, tiny: string, quick: string, full: string]

const streams = '--only cio,multiplex,http2'

const programs: readonly Program[] = [
  ['connect', one(1), one(5), one(21, 3)],
  ['throughput', one(1), one(7), one(21, 3)],
  ['forward', one(1), one(5), one(15, 3)],
  ['handshake-storm', '--rounds 1 --clients 50', '--rounds 3', '--rounds 8'],
  ['idle-memory', 'plain --rounds 1', 'plain --rounds 3', ''],
  ['rpc', `${one(1)} --calls 200`, `${one(5)} --calls 2000`, one(15, 3)],
  ['multiplex', `${one(1)} ${streams}`, `${one(5)} ${streams}`, one(7, 3)],
  ['rooms', '--rounds 1 --members 50', '--rounds 15', '--rounds 51'],
  ['codecs', `${one(1)} --count 2000 each`, `${one(3, 2)} --count 25000 each`, one(11, 3)],
  ['compose', '--rounds 3', '--rounds 31', ''],
  ['start-up', '1', '11', '15'],
]

/** Targets that another proof holds. */
const elsewhere = [
  'the certificate of a client with a long chain: `test/cases/handshake-memory.test.ts`',
  'the packed size: `test/package.test.ts`',
  '`tsc` on an app of 20 chained middleware: `test/cases/types-cost.test.ts`',
]

const page = 'docs/performance.md'
const json = 'bench/build/results.json'
const begin = '<!-- begin: written by `npm run bench -- quick --write` -->'
const end = '<!-- end -->'
/** How long the other processes are watched, before and after each bench. */
const watchTime = 500
/** Milliseconds after which a bench is ended, and its other rows are missing. */
const longest = { tiny: 300_000, quick: 240_000, full: 600_000 }[size]

const folder = mkdtempSync(join(tmpdir(), 'cio-bench-'))
const rows: Measured[] = []
const failed: string[] = []
const started = performance.now()
try {
  for (const program of programs) await run(program)
} finally {
  rmSync(folder, { recursive: true })
}
const minutes = (performance.now() - started) / 60_000

const text = `${table()}\n\n${notes()}\n`
console.log(`\n${text}`)
writeFileSync(json, `${JSON.stringify({ machine: machine(), rows, failed }, undefined, 2)}\n`)
console.log(`The same as JSON: ${json}`)
if (values.write) writePage()
if (failed.length > 0) process.exitCode = 1

function one(rounds: number, launches = 1): string {
  return `--launches ${launches} --rounds ${rounds}`
}

async function run([file, ...bySize]: Program): Promise<void> {
  const results = join(folder, file)
  writeFileSync(results, '')
  const path = fileURLToPath(new URL(`${file}.js`, import.meta.url))
  const args = bySize[sizes.indexOf(size)]!.split(' ').filter(Boolean)
  const before = await othersShare()
  const began = performance.now()
  console.log(`\n${file} ${args.join(' ')}`)
  const child = spawn(process.execPath, [path, ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, BENCH_RESULTS: results },
    timeout: longest,
  })
  const [code] = (await once(child, 'close')) as [number | null]
  console.log(`${file}: ${Math.round((performance.now() - began) / 1_000)} s`)
  const others = (before + (await othersShare())) / 2
  const lines = readFileSync(results, 'utf8').split('\n').filter(Boolean)
  for (const line of lines) rows.push({ ...(JSON.parse(line) as Row), others })
  if (code !== 0 || lines.length === 0) failed.push(file)
}

/** The share of the cores that other processes have while this one waits. */
async function othersShare(): Promise<number> {
  const before = busy()
  await delay(watchTime)
  const after = busy()
  const all = after.all - before.all
  return all === 0 ? 0 : (after.busy - before.busy) / all
}

function busy(): { busy: number; all: number } {
  let [idle, all] = [0, 0]
  for (const { times } of cpus()) {
    idle += times.idle
    for (const time of Object.values(times)) all += time
  }
  return { busy: all - idle, all }
}

function table(): string {
  const lines = [
    '| what | beside | figure | target | result | first beside itself | Mark-Compacts a second | others |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
  ]
  for (const row of rows) {
    const { what, beside, unit, figure, low, high, target, self, markCompacts, others } = row
    const digits = unit === 'ms' ? 0 : 2
    const show = (value: number): string => value.toFixed(digits)
    const suffix = unit === 'times' ? '' : ` ${unit}`
    const cells = [
      what,
      beside,
      `${show(figure)}${suffix} (${show(low)} to ${show(high)})`,
      `${show(target)}${suffix}`,
      verdictOf(row),
      self ? self.map(show).join(' to ') : '',
      markCompacts ? markCompacts.map((count) => count.toFixed(1)).join('; ') : '',
      `${Math.round(others * 100)} %`,
    ]
    lines.push(`| ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

function notes(): string {
  const incomplete = failed.map((file) => `- \`${file}\` failed: its figures are missing.`)
  const proved = elsewhere.map((proof) => `- Not in this table: ${proof}.`)
  const took = `- \`npm run bench${size === 'full' ? '' : ` -- ${size}`}\`, ${minutes.toFixed(1)} minutes.`
  const counted = rows.flatMap(({ what, note }) => (note ? [`- ${what}: ${note}.`] : []))
  return [`- ${machine()}`, took, ...incomplete, ...counted, ...proved].join('\n')
}

function machine(): string {
  const all = cpus()
  const day = new Date().toISOString().slice(0, 10)
  return `Node ${process.version}, Linux ${release()}, ${all.length} × ${all[0]?.model ?? 'unknown'}, ${day}.`
}

function writePage(): void {
  const before = readFileSync(page, 'utf8')
  const [from, to] = [before.indexOf(begin), before.indexOf(end)]
  if (from === -1 || to < from) throw new Error(`${page} has no place for the table`)
  writeFileSync(page, `${before.slice(0, from)}${begin}\n\n${text}\n${before.slice(to)}`)
  // As the check of the format wants it.
  spawnSync(process.execPath, ['node_modules/prettier/bin/prettier.cjs', '--write', page])
  console.log(`Written to ${page}; \`npm run docs\` puts it into the README`)
}
