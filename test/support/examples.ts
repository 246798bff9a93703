/** The programs of examples/, in processes of their own. */

import type { ExecutionContext } from 'ava'
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { typescript } from './typescript.ts'

export const root: string = fileURLToPath(new URL('../..', import.meta.url))
export const typed: readonly string[] = ['--import', typescript]
const run = promisify(execFile)

/** A running example, and what it says. */
export interface Launched {
  readonly child: ChildProcess
  readonly said: readonly string[]
  /** Waits for a line, or for one after so many others. */
  readonly line: (pattern: RegExp, after?: number) => Promise<string>
}

/** One that listens: the port that it says it is on. */
export interface Example extends Launched {
  readonly port: number
  readonly stop: () => Promise<void>
}

/** Starts an example on a free port, or on this one, and waits until it names the port. */
export async function start(
  t: ExecutionContext,
  name: string,
  options: { cwd?: string; port?: number } = {},
): Promise<Example> {
  const example = launch(t, name, options)
  const [port] = /\d+$/.exec(await example.line(/ on port \d+$/)) ?? []
  return { ...example, port: Number(port), stop: () => stop(example.child) }
}

export function launch(
  t: ExecutionContext,
  name: string,
  { words = [], cwd = root, port = 0 }: { words?: string[]; cwd?: string; port?: number },
): Launched {
  const file = join(root, 'examples', `${name}.ts`)
  const child = spawn(process.execPath, [...typed, file, ...words], {
    cwd,
    env: { ...process.env, PORT: String(port) },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  // Not inherited: what is left behind would keep the end of the tests from being seen.
  child.stderr.pipe(process.stderr, { end: false })
  t.teardown(() => stop(child))
  const said: string[] = []
  const waiting = new Set<() => void>()
  const output = createInterface(child.stdout)
  output.on('line', (text) => {
    said.push(text)
    for (const look of waiting) look()
  })
  const line = (pattern: RegExp, after = 0): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = said.find((text, at) => at >= after && pattern.test(text))
        if (found !== undefined) resolve(found)
      }
      waiting.add(look)
      output.once('close', () =>
        reject(new Error(`${name}.ts ended, and said: ${said.join('\n')}`)),
      )
      look()
    })
  return { child, said, line }
}

/** All lines that an example prints, which ends by itself. */
export async function output(name: string, ...words: string[]): Promise<string[]> {
  const file = join(root, 'examples', `${name}.ts`)
  const { stdout } = await run(process.execPath, [...typed, file, ...words], { cwd: root })
  return stdout.trim().split('\n')
}

/** A folder with certificates for a server and for these clients. */
export async function folderWithCertificates(
  t: ExecutionContext,
  ...names: string[]
): Promise<string> {
  const cwd = await mkdtemp(join(tmpdir(), 'cio-example-'))
  t.teardown(() => rm(cwd, { recursive: true }))
  const file = join(root, 'examples', 'certificates.ts')
  await run(process.execPath, [...typed, file, 'certs', ...names], { cwd })
  return cwd
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill()
  // If a test has stopped it.
  child.kill('SIGCONT')
  await once(child, 'exit')
}
