/**
 * npm run interop -- [--install] [--strict] [suite]...
 *
 * Runs each suite in a process of its own, for a bounded time, and prints a table. A suite whose peer is
 * not there is skipped, and named; with `--strict` that fails. `--install` installs the Debian packages
 * that are missing, as root.
 */

import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync, readdirSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { finished } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { type Needed, type Suite, suites } from './suites.ts'

/** Milliseconds for one suite. */
const longest = 90_000
/** Characters of what a suite that fails has said. */
const mostOutput = 12_000
const folder = dirname(fileURLToPath(import.meta.url))
const root = join(folder, '..', '..')

interface Row {
  readonly name: string
  readonly peer: string
  readonly passed: number
  readonly failed: number
  readonly skipped: boolean
  readonly seconds: number
}

const words = process.argv.slice(2)
const install = words.includes('--install')
const strict = words.includes('--strict')
const names = words.filter((word) => !word.startsWith('--'))
const unknown = names.filter((name) => !suites.some((suite) => suite.name === name))
if (unknown.length > 0) {
  console.error(
    `no suite is named ${unknown.join(', ')}; there are: ${suites.map(({ name }) => name).join(', ')}`,
  )
  process.exit(2)
}

const wanted = suites.filter(({ name }) => names.length === 0 || names.includes(name))
if (install) installMissing(wanted)

const rows: Row[] = []
for (const suite of wanted) {
  const missing = (suite.programs ?? []).filter((program) => find(program) === undefined)
  if (missing.length > 0) {
    const peer = missing.map(({ program }) => program).join(', ')
    const packages = [...new Set(missing.flatMap(({ debian }) => debian))].join(' ')
    console.log(`skipped ${suite.name}: ${peer} is not here (apt-get install ${packages})`)
    rows.push({
      name: suite.name,
      peer: `no ${peer}`,
      passed: 0,
      failed: 0,
      skipped: true,
      seconds: 0,
    })
  } else rows.push(await run(suite))
}
print(rows)
const failed = rows.reduce((sum, row) => sum + row.failed, 0)
process.exitCode = failed > 0 || (strict && rows.some(({ skipped }) => skipped)) ? 1 : 0

/** Runs a suite by AVA, and prints what failed. */
async function run(suite: Suite): Promise<Row> {
  const begun = performance.now()
  const ava = join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')
  const folders = (suite.programs ?? []).flatMap((program) => dirname(find(program)!))
  const child = spawn(process.execPath, [ava, `${suite.name}.test.ts`], {
    cwd: folder,
    // A group of its own, so that programs of a suite that hangs end with it.
    detached: true,
    env: { ...process.env, FORCE_COLOR: '0', PATH: [process.env.PATH, ...folders].join(delimiter) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
  }
  let late = false
  const timer = setTimeout(() => {
    late = true
    endGroup(child.pid!)
  }, longest)
  const status = await new Promise<number | null>((resolve) => child.once('exit', resolve))
  clearTimeout(timer)
  endGroup(child.pid!)
  await finished(child.stdout)
  const passed = count(output, /^ *✔ /gm)
  let failed = count(output, /^ *(✘|◌) /gm)
  // What ended the process, or began none, has no line.
  if (failed === 0 && (status !== 0 || passed === 0)) failed = 1
  const seconds = (performance.now() - begun) / 1000
  console.log(
    `${failed > 0 ? 'FAILED ' : 'ok     '} ${suite.name}: ${passed} passed, ${failed} failed`,
  )
  if (late) console.log(`it took more than ${longest / 1000} s`)
  if (failed > 0) console.log(failures(output))
  return { name: suite.name, peer: versions(suite), passed, failed, skipped: false, seconds }
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0
}

/** Ends what a suite has left behind; mostly, there is nothing any more. */
function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** The titles of tests that failed, or had not ended, and what AVA says of them after its first rule. */
function failures(output: string): string {
  const titles = output.split('\n').filter((line) => /^ *(✘|◌) /.test(line))
  const details = /^ *─$[^]*/m.exec(output)?.[0] ?? output
  return `${titles.join('\n')}\n${details}`.slice(0, mostOutput)
}

/** Where a program is; undefined if it is not there, or not whole. */
function find({ program, folder: other, file, works }: Needed): string | undefined {
  if (file !== undefined && !existsSync(file)) return undefined
  const others = other === undefined ? [] : expand(other)
  const places = [...others, ...(process.env.PATH ?? '').split(delimiter)]
  const path = places.map((place) => join(place, program)).find(isExecutable)
  const isWhole = path === undefined || !works || spawnSync(path, works).status === 0
  return isWhole ? path : undefined
}

/** The folders that a `*` may stand for, the last first. */
function expand(pattern: string): string[] {
  if (!pattern.includes('*')) return [pattern]
  const [before = '', after = ''] = pattern.split('*')
  return existsSync(before)
    ? readdirSync(before)
        .toReversed()
        .map((name) => `${before}${name}${after}`)
    : []
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The peers of a suite, each with its version. */
function versions({ programs = [], packages = [] }: Suite): string {
  const ofPrograms = programs.map((needed) => {
    // Without such an option, it would begin to serve.
    if (needed.version.length === 0) return needed.program
    const { stdout, stderr } = spawnSync(find(needed)!, needed.version, {
      encoding: 'utf8',
      timeout: longest,
    })
    const [version = ''] = /\d+\.\d+[\w.-]*/.exec(stdout + stderr) ?? []
    return `${needed.program} ${version}`.trim()
  })
  const ofPackages = packages.map((name) => {
    const places = [folder, join(root, 'bench'), root].map((place) =>
      join(place, 'node_modules', name, 'package.json'),
    )
    const manifest = readFileSync(
      places.find((place) => existsSync(place))!,
      'utf8',
    )
    return `${name} ${(JSON.parse(manifest) as { version: string }).version}`
  })
  return [...ofPrograms, ...ofPackages].join(', ')
}

function installMissing(wanted: readonly Suite[]): void {
  const missing = wanted
    .flatMap(({ programs = [] }) => programs)
    .filter((program) => find(program) === undefined)
  const packages = [...new Set(missing.flatMap(({ debian }) => debian))]
  if (packages.length === 0) return
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0) {
    console.error(`to install ${packages.join(' ')}, run this as root on Debian`)
    process.exit(2)
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  for (const command of [['update'], ['install', '-y', '--no-install-recommends', ...packages]]) {
    spawnSync('apt-get', ['-qq', ...command], { env, stdio: ['ignore', 'ignore', 'inherit'] })
  }
}

function print(rows: readonly Row[]): void {
  const cells = [
    ['suite', 'peer', 'passed', 'failed', 'skipped', 'seconds'],
    ...rows.map(({ name, peer, passed, failed, skipped, seconds }) => [
      name,
      peer,
      String(passed),
      String(failed),
      skipped ? 'yes' : '',
      seconds.toFixed(1),
    ]),
  ]
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)))
  console.log()
  for (const row of cells) {
    console.log(
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join('  ')
        .trimEnd(),
    )
  }
  const sum = (of: (row: Row) => number): number => rows.reduce((total, row) => total + of(row), 0)
  const skipped = rows.filter((row) => row.skipped).length
  console.log(
    `\n${sum((row) => row.passed)} passed, ${sum((row) => row.failed)} failed, ${skipped} suites skipped`,
  )
}
