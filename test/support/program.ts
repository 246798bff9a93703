/** Programs of the tests in processes of their own, which say what happens by lines of JSON. */

import type { ExecutionContext } from 'ava'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { wordsOf } from './typescript.ts'

/** A line that a program has printed. */
export interface Line {
  readonly event: string
  readonly [detail: string]: unknown
}

/** How a process has ended. */
export interface End {
  readonly code: number | null
  readonly signal: string | null
  /** All that it has printed. */
  readonly lines: readonly Line[]
}

const withParent = new URL('../fixtures/with-parent.mjs', import.meta.url).href

export class Program {
  readonly child: ChildProcess
  readonly ended: Promise<End>
  readonly lines: Line[] = []
  #stir = (): void => {}

  /** `before` stands before the command; `descriptors` become 3 and those after it. */
  constructor(
    t: ExecutionContext,
    fixture: string,
    order: object,
    before: readonly string[] = [],
    descriptors: readonly number[] = [],
  ) {
    const [command, ...parameters] = [
      ...before,
      process.execPath,
      '--import',
      withParent,
      ...wordsOf(new URL(`../fixtures/${fixture}`, import.meta.url)),
      JSON.stringify(order),
    ]
    this.child = spawn(command, parameters, {
      stdio: ['pipe', 'pipe', 'inherit', ...descriptors],
    })
    this.child.stdin!.on('error', () => {})
    t.teardown(() => this.child.kill('SIGKILL'))
    createInterface(this.child.stdout!).on('line', (line) => {
      this.lines.push(JSON.parse(line) as Line)
      this.#stir()
    })
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      this.#stir()
      return { code: code as number | null, signal: signal as string | null, lines: this.lines }
    })
  }

  /** Waits until it has printed its first event. */
  async untilAny(): Promise<Line> {
    for (;;) {
      const [first] = this.lines
      if (first) return first
      if (this.child.exitCode !== null) throw new Error('it ended without a word')
      await new Promise<void>((resolve) => (this.#stir = resolve))
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal)
  }

  /** Waits until it has printed an event, so many times. */
  async until(event: string, times = 1): Promise<Line> {
    for (;;) {
      const found = this.lines.filter((line) => line.event === event)
      if (found.length >= times) return found[times - 1]!
      if (this.child.exitCode !== null) throw new Error(`it ended without \`${event}\``)
      await new Promise<void>((resolve) => (this.#stir = resolve))
    }
  }
}
