/** Programs that a suite runs, each for a bounded time, and none left behind. */

import type { ExecutionContext } from 'ava'
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** What came of a program. */
export interface Outcome {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface ProgramOptions extends SpawnOptions {
  /** What it reads, to the end. */
  readonly input?: string | Buffer
}

/** Milliseconds for a program that ends by itself. */
const longest = 30_000
/** Milliseconds between two looks whether a program listens. */
const between = 20

/** Runs a program to its end. */
export async function execute(
  t: ExecutionContext,
  program: string,
  words: readonly string[],
  { input = '', ...options }: ProgramOptions = {},
): Promise<Outcome> {
  const { child, said } = start(t, program, words, { ...options, timeout: longest })
  child.stdin!.end(input)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  return { code, ...said }
}

/** A program that runs until its test is over. */
export function start(
  t: ExecutionContext,
  program: string,
  words: readonly string[],
  options: SpawnOptions = {},
): { child: ChildProcess; said: { stdout: string; stderr: string } } {
  const child = spawn(program, words, { ...options, stdio: 'pipe' })
  const said = { stdout: '', stderr: '' }
  child.stdin.on('error', () => {})
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => (said.stdout += chunk))
  child.stderr.setEncoding('latin1').on('data', (chunk: string) => (said.stderr += chunk))
  const closed = new Promise((resolve) => child.once('close', resolve).once('error', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await closed
    if (!t.passed) t.log(`${program} said:\n${(said.stdout + said.stderr).slice(-2_000)}`)
  })
  return { child, said }
}

/** Waits until a program listens on a port of the loopback address. */
export async function listening(child: ChildProcess, port: number): Promise<void> {
  for (let waited = 0; waited < longest; waited += between) {
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended`)
    const socket = connect(port, '127.0.0.1')
    const answered = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (answered) return
    await sleep(between)
  }
  throw new Error(`${child.spawnfile} does not listen on ${port}`)
}

/** A folder that is there for one test. */
export function scratch(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'cio-interop-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
