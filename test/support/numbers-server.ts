/** The server of numbers as a process of its own, and the file that outlives it. */

import type { ExecutionContext } from 'ava'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const program: string = fileURLToPath(new URL('../fixtures/numbers-server.mjs', import.meta.url))

/** A running server of numbers; it ends with our process, whatever happens to that. */
export interface NumbersServer {
  readonly child: ChildProcess
  readonly port: number
}

/** Starts it on a port; with words before its command, if any. */
export async function startNumbersServer(
  t: Pick<ExecutionContext, 'teardown'>,
  file: string,
  port: number,
  before: readonly string[] = [],
): Promise<NumbersServer> {
  const words = [...before, process.execPath, program, file, String(port)]
  const child = spawn(words[0]!, words.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.on('error', () => {})
  t.teardown(() => child.kill('SIGKILL'))
  const gone = once(child, 'exit').then(([code]) => {
    throw new Error(`the server of numbers ended with ${code}, and did not listen on ${port}`)
  })
  await Promise.race([once(createInterface(child.stdout), 'line'), gone])
  gone.catch(() => {})
  return { child, port }
}

/** A file that it writes its numbers to. */
export function numbersFile(t: Pick<ExecutionContext, 'teardown'>): string {
  const directory = mkdtempSync(join(tmpdir(), 'cio-numbers-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'numbers')
  writeFileSync(file, '')
  return file
}

/** What it has dealt with. */
export function numbersIn(file: string): number[] {
  return readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number)
}
