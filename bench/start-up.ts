/** How long does `import 'cio'` take above `node:tls`, and a command that needs none of it? */

import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { median, middleHalf, record } from './results.ts'

const rounds = Number(process.argv[2] ?? 15)
const target = 50
const root = process.cwd()

interface Candidate {
  readonly name: string
  readonly args: readonly string[]
}

const importing = (name: string, ...modules: readonly string[]): Candidate => {
  const imports = modules.map((module) => `await import('${module}')`).join('\n')
  const report = 'const { user, system } = process.cpuUsage()\nconsole.log((user + system) / 1000)'
  return { name, args: ['--input-type=module', '-e', `${imports}\n${report}`] }
}

// As an application has it: the build, in node_modules.
const folder = mkdtempSync(join(tmpdir(), 'cio-start-up-'))
try {
  writeFileSync(join(folder, 'package.json'), '{ "private": true }')
  const installed = join(folder, 'node_modules', 'cio')
  for (const path of ['dist', 'package.json']) {
    cpSync(join(root, path), join(installed, path), { recursive: true })
  }
  for (const name of ['koa-compose', 'koa', 'ws']) {
    symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name))
  }
  compare([
    importing('node:tls', 'node:tls'),
    importing('node:tls again', 'node:tls'),
    importing('cio', 'node:tls', 'cio'),
    importing('cio/kit', 'node:tls', 'cio/kit'),
    importing('cio/testing', 'node:tls', 'cio/testing'),
    importing('koa', 'node:tls', 'koa'),
    importing('ws', 'node:tls', 'ws'),
  ])
  commandLine(join(installed, 'dist', 'cli', 'main.js'))
} finally {
  rmSync(folder, { recursive: true })
}

/** Each round runs every candidate once, so that what else the machine does meets all of them. */
function compare(candidates: readonly Candidate[]): void {
  const times = candidates.map((): number[] => [])
  for (let round = 0; round < rounds; round++) {
    for (const [index, { args }] of candidates.entries()) {
      times[index]!.push(Number(node(args).stdout))
    }
  }
  const [base = 0] = times.map(median)
  console.log(`import (processor time above node:tls, ${rounds} rounds)`)
  for (const [index, { name }] of candidates.entries()) {
    const above = median(times[index]!) - base
    const [least, most] = [Math.min(...times[index]!), Math.max(...times[index]!)]
    if (name === 'cio') {
      const [low, high] = middleHalf(times[index]!.map((time, round) => time - times[0]![round]!))
      record({
        what: "`import 'cio'`, processor time",
        beside: '`node:tls`',
        unit: 'ms',
        figure: above,
        low,
        high,
        target,
      })
    }
    const verdict =
      name === 'cio' ? `; target ${target} ms: ${above <= target ? 'met' : 'missed'}` : ''
    const range = `[${least.toFixed(0)}–${most.toFixed(0)} in all]`
    console.log(`  ${name.padEnd(14)} ${above.toFixed(1)} ms ${range}${verdict}`)
  }
}

function commandLine(main: string): void {
  const candidates = [
    { name: 'node itself', args: ['-e', '0'] },
    { name: 'cio --version', args: [main, '--version'] },
    { name: 'cio --help', args: [main, '--help'] },
    { name: 'cio inspect -h', args: [main, 'inspect', '-h'] },
    { name: 'cio connect -h', args: [main, 'connect', '-h'] },
  ]
  const times = candidates.map((): number[] => [])
  for (let round = 0; round < rounds; round++) {
    for (const [index, { args }] of candidates.entries()) times[index]!.push(node(args).took)
  }
  console.log(`command line (time that passes, ${rounds} rounds)`)
  for (const [index, { name }] of candidates.entries()) {
    const [least, middle] = [Math.min(...times[index]!), median(times[index]!)]
    if (name === 'cio --version') {
      const [low, high] = middleHalf(times[index]!)
      const figures = { figure: middle, low, high, target: 180 }
      record({ what: '`cio --version`', beside: 'nothing', unit: 'ms', ...figures })
    }
    console.log(`  ${name.padEnd(14)} ${middle.toFixed(0)} ms [from ${least.toFixed(0)}]`)
  }
}

function node(args: readonly string[]): { stdout: string; took: number } {
  const started = performance.now()
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`node ${args.join(' ')}: ${stderr}`)
  return { stdout, took: performance.now() - started }
}
